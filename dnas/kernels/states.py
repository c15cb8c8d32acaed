"""A cell with dense convolutions, state by state: forward and backward.

Arrays are flat images of all states (states, pixels * channels), of all convolutions (convolutions, pixels * channels),
and numbers for each of their channels (convolutions, channels), in the plan's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.cost.kernel_traffic import TRAFFIC
from dnas.kernels.chains import Norm
from dnas.kernels.compiled import vector_bytes
from dnas.kernels.images import Array, address, flat, in_parts, summed
from dnas.kernels.plans import Plan


@dataclass(frozen=True)
class Size:
    """Size and type of all images of a cell."""

    batch: int
    height: int
    width: int
    channels: int
    dtype: torch.dtype

    @staticmethod
    def of(x: Tensor) -> Size:
        batch, channels, height, width = x.shape
        return Size(batch, height, width, channels, x.dtype)

    @property
    def pixels(self) -> int:
        return self.batch * self.height * self.width

    def lanes(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The longest vector, and the longest that divides the channels, a multiple of 4, as tuples of zeros."""
        longest = vector_bytes() // self.dtype.itemsize
        zero = self.empty(0).dtype.type(0)
        return (zero,) * longest, (zero,) * math.gcd(longest, self.channels)

    def empty(self, count: int) -> Array:
        """Images of `count` states or convolutions, (count, pixels * channels)."""
        return torch.empty(count, self.pixels * self.channels, dtype=self.dtype).numpy()

    def images(self, array: Array) -> Tensor:
        """A flat array as images (batch, channels, height, width)."""
        shape = self.batch, self.height, self.width, self.channels
        return torch.from_numpy(array).view(shape).permute(0, 3, 1, 2)

    def of_state(self, plan: Plan, state: int) -> tuple[int, ...]:
        """Number of images, height, width, channels, and columns of the 3x3 and 1x1 convolutions that read a state."""
        own, three = plan.blocks[state], plan.threes[state]
        columns = self.channels * three, self.channels * (own.stop - own.start - three)
        return self.batch, self.height, self.width, self.channels, *columns


class Forward:
    """The states of a cell.

    Args:
        values: the mixture (edges, candidates), in float64.
        x: images (batch, channels, height, width).
        weights: of the plan's convolutions.
    """

    def __init__(self, plan: Plan, values: Array, x: Tensor, weights: Sequence[Tensor]):
        self.plan, self.values, self.size, self.x = plan, values, Size.of(x), flat(x)
        self.weights = [weight.contiguous() for weight in weights]
        self.weights_at = np.array([weight.data_ptr() for weight in self.weights], np.int64)
        self.states, self.y = self.size.empty(plan.states - 1), self.size.empty(len(plan.convolutions))
        self.states_at = np.concatenate([[address(self.x)], _addresses(self.states)])
        self.y_at = _addresses(self.y)
        parts = plan.of_convolutions
        self.column = values[parts.edges, parts.candidates][:, None]
        self.skips = plan.of_skips.matrix(values, plan.states)
        self.averages = plan.of_averages.matrix(values, plan.states)
        self.mean, self.inverse = np.empty((2, len(plan.convolutions), self.size.channels))
        for state in range(plan.states):
            self._state(state)

    def image(self, state: int) -> Array:
        return self.states[state - 1] if state else self.x

    def of_terms(self, state: int) -> list[Array]:
        """The results of the convolutions that lead to a state."""
        return [self.y[convolution] for convolution in self.plan.entering[state]]

    def norm(self, state: int) -> Norm:
        """Batch norms of the convolutions that lead to a state, each (convolutions, channels)."""
        entering = self.plan.entering[state]
        return Norm(self.mean[entering], self.inverse[entering], self.size.pixels)

    def _state(self, state: int) -> None:
        from dnas.kernels.states_numba import state_forward

        entering, own, size, dtype = self.plan.entering[state], self.plan.blocks[state], self.size, self.x.dtype
        scale, shift = self.norm(state).affine(self.column[entering])
        terms = self.y_at[entering], scale.astype(dtype).reshape(-1), shift.sum(0).astype(dtype)
        linear = (
            self.states_at[:state],
            self.skips[state, :state].astype(dtype),
            self.averages[state, :state].astype(dtype),
        )
        y, sizes = self.y[own].reshape(-1), size.of_state(self.plan, state)
        args = (terms, linear, self.image(state), state == 0, self.weights_at[own], y, sizes, size.lanes())
        earlier = np.union1d(self.plan.skipping[state], self.plan.averaged[state])
        TRAFFIC.add([self.image(state), *self.y[own], *self.of_terms(state), *map(self.image, earlier)])
        total = summed(in_parts(lambda begin, end: state_forward(begin, end, *args), size.batch))
        norm = Norm.of(total.reshape(2, -1, size.channels).swapaxes(0, 1), size.pixels, self.plan.eps)
        self.mean[own], self.inverse[own] = norm.mean, norm.inverse


class Backward:
    """The gradients of a cell's mixture, weights and input.

    Args:
        passed: the forward pass.
        g: gradient of the last state.
        for_input, for_weights: which gradients are wanted beside that of the mixture.
    """

    def __init__(self, passed: Forward, g: Tensor, for_input: bool, for_weights: bool):
        self.passed, self.for_input, self.for_weights = passed, for_input, for_weights
        plan, size = passed.plan, passed.size
        self.states = [*size.empty(plan.states - 1), flat(g.contiguous(memory_format=torch.channels_last))]
        self.states_at = np.array([address(state) for state in self.states], np.int64)
        self.weights: list[Tensor] = []
        # The gradients of the values of each kind of terms, and a, b, c of the gradient a g + b y + c of each y.
        self.of_column = np.zeros(len(plan.convolutions))
        self.of_skips, self.of_averages = np.zeros((2, plan.states, plan.states))
        self.of_undrawn = np.zeros(plan.states)
        self.of_y = np.empty((3, len(plan.convolutions), size.channels), self.states[0].dtype)
        for state in reversed(range(plan.states)):
            if state or for_input or for_weights:
                self._state(state)

    def of_values(self) -> Array:
        """The gradient of the mixture (edges, candidates)."""
        plan, found = self.passed.plan, np.zeros_like(self.passed.values)
        parts = plan.of_convolutions
        found[parts.edges, parts.candidates] = self.of_column
        for parts, matrix in ((plan.of_skips, self.of_skips), (plan.of_averages, self.of_averages)):
            found[parts.edges, parts.candidates] = matrix[parts.targets, parts.sources]
        for state, places in enumerate(plan.undrawn):
            for edge, candidate in places:
                found[edge, candidate] = self.of_undrawn[state]
        return found

    def _state(self, state: int) -> None:
        """Gradients of a state, unless it is the last, of the weights that read it and of the values of its terms."""
        from dnas.kernels.states_numba import state_backward

        passed, plan, size, dtype = self.passed, self.passed.plan, self.passed.size, self.of_y.dtype
        own, later = plan.blocks[state], slice(state + 1, plan.states)
        outer = self.states_at[plan.of_convolutions.targets[own]], *(part.reshape(-1) for part in self.of_y[:, own])
        skips, averages = (matrix[later, state].astype(dtype) for matrix in (passed.skips, passed.averages))
        terms = np.concatenate([passed.y_at[plan.entering[state]], passed.states_at[plan.skipping[state]]])
        sources = passed.states_at[plan.averaged[state]]
        wanted = state < plan.states - 1 and (state > 0 or self.for_input), self.for_weights
        sizes = size.of_state(plan, state)
        given = passed.image(state), passed.weights_at[own], passed.y[own].reshape(-1), outer
        linear = self.states_at[later], skips, averages

        def work(begin: int, end: int) -> tuple[Array, Array, Array]:
            three, one = np.zeros(9 * size.channels * sizes[4], dtype), np.zeros(size.channels * sizes[5], dtype)
            args = (linear, (self.states[state], three, one), wanted, terms, sources, sizes, size.lanes())
            return state_backward(begin, end, *given, *args), three, one

        read = {*plan.of_convolutions.targets[own], *(state + 1 + np.flatnonzero(skips + averages))}
        earlier = np.union1d(plan.skipping[state], plan.averaged[state])
        TRAFFIC.add([passed.image(state), *passed.y[own], self.states[state], *(self.states[i] for i in read)])
        TRAFFIC.add([*passed.of_terms(state), *map(passed.image, earlier)])
        total, three, one = (summed(parts) for parts in zip(*in_parts(work, size.batch), strict=True))
        self._read(state, total.reshape(-1, size.channels))
        if self.for_weights:
            self.weights = [*_weights(three, 3, size.channels), *_weights(one, 1, size.channels), *self.weights]

    def _read(self, state: int, total: Array) -> None:
        """What the sums of g times each term of a state, and of g, mean for the values and for the convolutions."""
        plan, norm, g = self.passed.plan, self.passed.norm(state), total[-1]
        entering, skips = plan.entering[state], plan.skipping[state]
        own, of_skips, of_averages = np.split(total[:-1], np.cumsum([len(entering), len(skips)]))
        factors, self.of_column[entering] = norm.gradient(g, own, self.passed.column[entering])
        for of_y, factor in zip(self.of_y, factors, strict=True):
            of_y[entering] = factor
        self.of_skips[state, skips] = of_skips.sum(1)
        self.of_averages[state, plan.averaged[state]] = of_averages.sum(1)
        self.of_undrawn[state] = g.sum()


def _addresses(rows: Array) -> Array:
    """Of each row of a matrix."""
    return address(rows) + np.arange(len(rows)) * rows.strides[0]


def _weights(matrix: Array, size: int, channels: int) -> tuple[Tensor, ...]:
    """The weights (channels, channels, size, size) of a matrix (size, size, channels, columns)."""
    if not matrix.size:
        return ()
    taps = torch.from_numpy(matrix).view(size, size, channels, -1, channels)
    return taps.permute(3, 4, 2, 0, 1).contiguous().unbind()
