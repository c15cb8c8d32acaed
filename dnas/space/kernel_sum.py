"""The weighted sum of a node's operations as one autograd function on the CPU kernels of `dnas.kernels`.

It is the sum of `dnas.space.node_sum`, `sum_t m_t f_t(x_t)`. A separable f is one or two rounds of ReLU, depthwise and
1x1 convolution, and batch norm without parameters. What is kept is the input y of each batch norm; no normalised,
weighted or summed result of an operation is ever written but the node itself, since

    sum_t m_t BN(y_t) = sum_t (m_t / sigma_t) y_t - sum_t m_t mean_t / sigma_t

Backward, with g the gradient of the node, P the number of pixels, and sums over images and pixels,

    d_m_t = (sum g y_t - mean_t sum g) / sigma_t      =: S_t, added up over channels
    d_y_t = (m_t / sigma_t) (g - sum g / P - (y_t - mean_t) S_t / (sigma_t P))

where d_y is computed as the chain's backward pass reads g and y. All separable operations of an edge go through their
images together, so that the images are read, and their gradient written, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.distributed.ranks import ranks
from dnas.kernels.chains import Chains, Norm, joined
from dnas.kernels.images import Array, address, flat, in_parts, lanes, summed
from dnas.space.node_sum import Term, differentiable_gradients

_SIZES = {3, 5}  # of the depthwise kernels for which there is a weight gradient


@dataclass(frozen=True)
class Chain:
    """What is kept of a separable term: its rounds, each with its place among their chains, its y and batch norm."""

    rounds: tuple[tuple[Chains, int, Array, Norm], ...]


class KernelSum(torch.autograd.Function):
    """The sum of the terms of a node, called as `dnas.space.node_sum.NodeSum`; ReLU is part of separable terms."""

    relu_first = True

    @staticmethod
    def takes(x: Tensor, weights: Sequence[Tensor]) -> bool:
        """Whether there are kernels for terms of these weights on x; statistics over several ranks have none."""
        fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.ndim == 4
        sizes = {weight.shape[-1] for weight in weights[::2]}
        return fits and x.shape[1] % 4 == 0 and sizes <= _SIZES and ranks().size == 1

    @staticmethod
    def forward(ctx: Any, terms: tuple[Term, ...], num_inputs: int, values: Tensor, *tensors: Tensor) -> Tensor:
        from dnas.kernels.sums_numba import weighted_sum

        inputs = [x.detach().contiguous(memory_format=torch.channels_last) for x in tensors[:num_inputs]]
        weights = [weight.detach() for weight in tensors[num_inputs:]]
        of_vector = lanes(inputs[0].shape[1], inputs[0].dtype)
        chains = _forward_chains(terms, inputs, weights, of_vector)
        mixture = values.tolist()
        places, scales, shift = [], [], np.zeros(inputs[0].shape[1])
        for number, term in enumerate(terms):
            value = mixture[term.edge][term.candidate]
            if number in chains:
                _, place, y, norm = chains[number].rounds[-1]
                scale, own_shift = norm.affine(value)
                places.append(address(y[place]))
                shift += own_shift
            else:
                scale = np.full_like(shift, value)
                places.append(address(flat(inputs[term.slot])))
            scales.append(scale)
        result = _result_like(inputs, terms, chains)
        out, at = flat(result), np.array(places)
        scale, shift = (joined([array], like=out) for array in (np.stack(scales), shift))
        channels = result.shape[1]
        in_parts(
            lambda begin, end: weighted_sum(begin, end, at, scale, shift, out, channels, of_vector),
            out.size // channels,
        )
        ctx.terms, ctx.num_inputs, ctx.kept = terms, num_inputs, (inputs, chains, at, of_vector)
        ctx.save_for_backward(values, *tensors)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs = ctx.needs_input_grad[2:]
        values, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = (values, *tensors)
            return None, None, *differentiable_gradients(ctx.terms, ctx.num_inputs, given, g, needs)
        g = g.contiguous(memory_format=torch.channels_last)
        gradients = Gradients(ctx.terms, values.tolist(), g, needs[1 : 1 + ctx.num_inputs], *ctx.kept)
        d_inputs, d_weights = gradients.of_inputs_and_weights(any(needs[1 + ctx.num_inputs :]))
        return None, None, gradients.of_values(), *d_inputs, *d_weights


def _forward_chains(
    terms: Sequence[Term], inputs: Sequence[Tensor], weights: Sequence[Tensor], of_vector: Any
) -> dict[int, Chain]:
    """The separable terms by their number: those that read the same images together, then second rounds alone."""
    first = np.cumsum([0, *(2 * len(term.rounds) for term in terms)])
    found: dict[int, Chain] = {}
    for numbers in _of_one_input(terms):
        x = inputs[terms[numbers[0]].slot]
        batch, channels, height, width = x.shape
        one, none = np.ones(channels), np.zeros(channels)
        pairs = [(weights[first[number]], weights[first[number] + 1]) for number in numbers]
        chains = _chains(flat(x), (one, none), (batch, height, width, channels), [terms[n] for n in numbers], 0, pairs)
        y, total = chains.forward(of_vector)
        count = y.shape[1] // channels
        for place, number in enumerate(numbers):
            term = terms[number]
            norm = Norm.of(total[place], count, term.eps)
            rounds = [(chains, place, y, norm)]
            if len(term.rounds) == 2:
                pair = weights[first[number] + 2], weights[first[number] + 3]
                second = _chains(y[place], norm.affine(1.0), chains.out_sizes, [term], 1, [pair])
                y2, total2 = second.forward(of_vector)
                rounds.append((second, 0, y2, Norm.of(total2[0], count, term.eps)))
            found[number] = Chain(tuple(rounds))
    return found


def _of_one_input(terms: Sequence[Term]) -> Iterator[list[int]]:
    """The numbers of separable terms that read the same images with the same stride."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, term in enumerate(terms):
        if term.rounds:
            groups.setdefault((term.slot, term.rounds[0].stride), []).append(number)
    yield from groups.values()


def _chains(
    x: Array,
    norm: tuple[Array, Array],
    sizes: tuple[int, int, int, int],
    terms: Sequence[Term],
    index: int,
    weights: Sequence[tuple[Tensor, Tensor]],
) -> Chains:
    """Round `index` of some terms that read x."""
    rounds = [term.rounds[index] for term in terms]
    kernels = [depthwise.shape[-1] for depthwise, _ in weights]
    return Chains(
        x,
        (joined([norm[0]], like=x), joined([norm[1]], like=x)),
        sizes,
        rounds[0].stride,
        (np.array(kernels), np.array([one.dilation for one in rounds])),
        tuple(depthwise.flatten(1).t().contiguous().numpy() for depthwise, _ in weights),
        np.stack([pointwise.flatten(1).numpy() for _, pointwise in weights]),
    )


def _result_like(inputs: Sequence[Tensor], terms: Sequence[Term], chains: dict[int, Chain]) -> Tensor:
    """An empty node: its images have the size of what any term gives."""
    x = inputs[terms[0].slot]
    batch, height, width, channels = (
        chains[0].rounds[0][0].out_sizes if 0 in chains else (x.shape[0], *x.shape[2:], x.shape[1])
    )
    return torch.empty(batch, height, width, channels, dtype=x.dtype).permute(0, 3, 1, 2)


@dataclass
class Gradients:
    """The backward pass of a `KernelSum`.

    Args:
        terms, values: as in the forward pass.
        g: gradient of the node, channels-last.
        needs: which inputs need a gradient.
        inputs, chains, places, of_vector: what the forward pass kept.
    """

    terms: tuple[Term, ...]
    values: list[list[float]]
    g: Tensor
    needs: Sequence[bool]
    inputs: Sequence[Tensor]
    chains: dict[int, Chain]
    places: Array
    of_vector: Any

    def __post_init__(self) -> None:
        from dnas.kernels.sums_numba import gradient_sums

        batch, channels, height, width = self.g.shape
        self.flat_g, self.pixels = flat(self.g), batch * height * width
        args = (self.places, self.flat_g, height * width, channels, self.of_vector)
        total = summed(in_parts(lambda begin, end: gradient_sums(begin, end, *args), batch))
        self.total = total.reshape(-1, channels)

    def of_values(self) -> Tensor:
        """The mixture's gradient (edges, candidates)."""
        result = torch.zeros(len(self.values), len(self.values[0]), dtype=self.g.dtype)
        for number, term in enumerate(self.terms):
            if number in self.chains:
                _, own = self.chains[number].rounds[-1][-1].gradient(self.total[-1], self.total[number], 1.0)
            else:
                own = self.total[number].sum()
            result[term.edge, term.candidate] = float(own)
        return result

    def of_inputs_and_weights(self, for_weights: bool) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Gradients of the node's inputs that need one, and of all weights if they are wanted."""
        d_inputs: list[Tensor | None] = [None] * len(self.inputs)
        d_weights: dict[int, list[Tensor]] = {}
        plain = dict.fromkeys((term.slot for term in self.terms if not term.rounds), 0.0)
        for term in self.terms:
            if not term.rounds:
                plain[term.slot] += self.values[term.edge][term.candidate]
        for numbers in _of_one_input(self.terms):
            slot = self.terms[numbers[0]].slot
            if self.needs[slot] or for_weights:
                factor, before = plain.pop(slot, 0.0), d_inputs[slot]
                found = self._through_chains(numbers, factor, for_weights, d_weights)
                d_inputs[slot] = found if before is None or found is None else before.add_(found)
        for slot, factor in plain.items():
            if self.needs[slot]:
                d_inputs[slot] = self.g * factor
        count = sum(2 * len(term.rounds) for term in self.terms)
        if not for_weights:
            return d_inputs, [None] * count
        return d_inputs, [own for number, term in enumerate(self.terms) if term.rounds for own in d_weights[number]]

    def _through_chains(
        self, numbers: Sequence[int], factor: float, for_weights: bool, d_weights: dict[int, list[Tensor]]
    ) -> Tensor | None:
        """The gradient of the images that these terms read, and `factor` times g; `d_weights` get those of weights."""
        outer: list[tuple[int, int, tuple[Array, Array, Array]]] = []
        kept: list[Array] = []  # as long as their addresses are in use
        chains = self.chains[numbers[0]].rounds[0][0]
        nothing = address(self.flat_g), np.zeros(1, self.flat_g.dtype)
        for number in numbers:
            term, (first, *second) = self.terms[number], self.chains[number].rounds
            value = self.values[term.edge][term.candidate]
            _, place, y, norm = first
            g, of_g, of_g_y, own = self.flat_g, self.total[-1], self.total[number], []
            for two, _, y2, norm2 in second:
                ours, _ = norm2.gradient(of_g, of_g_y, value)
                outer2 = _outer([(address(g), address(y2), ours)], like=g)
                g, value = torch.empty(y[place].size, dtype=self.g.dtype).numpy(), 1.0
                total, own = two.backward(outer2, nothing, g, (True, for_weights), self.of_vector)
                of_g, of_g_y = total.reshape(2, -1)
                kept.append(g)
            ours, _ = norm.gradient(of_g, of_g_y, value)
            outer.append((address(g), address(y[place]), ours))
            d_weights[number] = own
        x = self.inputs[self.terms[numbers[0]].slot]
        need = self.needs[self.terms[numbers[0]].slot]
        d_x = torch.empty_like(x) if need else x
        given = _outer(outer, like=self.flat_g), (nothing[0], np.array([factor], self.flat_g.dtype))
        _, own = chains.backward(*given, flat(d_x), (need, for_weights), self.of_vector)
        for place, number in enumerate(numbers):
            d_weights[number] = own[2 * place : 2 * place + 2] + d_weights[number]
        return d_x if need else None


def _outer(outer: Sequence[tuple[int, int, tuple[Array, Array, Array]]], like: Array) -> tuple[Array, ...]:
    """Addresses and the three factors of all chains, as `chains_backward` takes them."""
    of_g, of_y, of_all = (joined([factors[i] for _, _, factors in outer], like=like) for i in range(3))
    return np.array([g for g, _, _ in outer]), np.array([y for _, y, _ in outer]), of_g, of_y, of_all
