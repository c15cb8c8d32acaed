"""A cell with dense convolutions as one autograd function on the CPU kernels of `dnas.kernels`.

Each state is a weighted sum of terms, as in `dnas.space.kernel_sum`; a term is an earlier state, its average P over 3x3
pixels, or batch norm without parameters of a convolution y of its ReLU:

    x_j = sum_t m_t x_i + P sum_t m_t x_i + sum_t (m_t / sigma_t) (y_t - mean_t)

All convolutions that read a state are one product with their weights side by side, written once with the sums that
batch norm needs. Backward the states are taken in the opposite order. With g_j the gradient of state j, and d_y that of
a y as `kernel_sum` has it,

    g_i = sum_t m_t g_j + P^T sum_t m_t g_j + [x_i > 0] sum_t W_t^T d_y_t

which is computed image by image together with the sums over g_i that the terms of state i need.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.candidates import Zero, add_up
from dnas.core.mixture import Mixture, uniform
from dnas.distributed.ranks import ranks
from dnas.kernels.choice import kernels_on
from dnas.kernels.plans import Kind, Part, Plan
from dnas.kernels.states import Backward, Forward
from dnas.space.ops import Pool, ReLUConvBN
from dnas.space.second_derivatives import differentiable_gradients
from dnas.space.stacked import StackedCell, stack_shape

# Measured in docs/speed.md: with 128 channels convolutions are all that counts, and PyTorch's are faster.
MOST_CHANNELS = 64

# Stride of the slice before, kernel, stride, padding and dilation.
_KINDS: dict[tuple[Any, ...], Kind] = {
    (1, (3, 3), (1, 1), (1, 1), (1, 1)): "conv3x3",
    (1, (1, 1), (1, 1), (0, 0), (1, 1)): "conv1x1",
}


class KernelStackedCell(StackedCell):
    """`StackedCell` with the same parameters, computed by `KernelStates` where there are kernels.

    There are for 'none', skip connections, average pooling without batch norm, and dense convolutions of 1x1 and 3x3 in
    the form for search, in float32 and float64, for a multiple of 4 channels up to 64 and images at least 4 pixels
    wide, on the CPU, in one process and outside autocast. A cell with anything else computes as `StackedCell` does.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        x = inputs[0]
        mixture = self._mixture or uniform(self.decision.shape, x)
        found = self._plan(x, mixture)
        if found is None:
            return StackedCell.forward(self, *inputs)
        values = mixture.values.to(x.dtype)
        if self._edge_mixture is not None:
            values = values * self._edge_mixture.values[:, None]
        plan, weights = found
        return KernelStates.apply(plan, values, x, *weights)  # type: ignore[no-any-return]

    def _plan(self, x: Tensor, mixture: Mixture) -> tuple[Plan, list[Tensor]] | None:
        """How the kernels compute the cell, and the weights of its convolutions; None if they do not."""
        last = self.decision.edges[-1][1]
        if not KernelStates.takes(x) or torch.is_autocast_enabled("cpu"):
            return None
        if self.num_inputs > 1 or self.decision.output != (last,):
            return None
        if mixture.adds_inactive and self._edge_mixture is not None:  # what is not drawn has no weight of its edge
            return None
        parts: list[tuple[int, int, Kind]] = []
        weights: dict[tuple[int, int], Tensor] = {}
        eps: set[float] = set()
        for edge, row in enumerate(self.operations):
            operations = list(row)  # type: ignore[arg-type]
            for k in mixture.row(edge):
                operation = operations[k]
                if isinstance(operation, Zero):
                    continue
                kind = _kind(operation, x.shape[1])
                if kind is None:
                    return None
                parts.append((edge, k, kind))
                if isinstance(operation, ReLUConvBN):
                    weights[edge, k] = operation.conv.weight
                    eps.add(operation.norm.eps)
        if len(eps) > 1:
            return None
        undrawn = tuple(self._undrawn(mixture, state) for state in range(last + 1))
        plan = _planned(tuple(parts), self.decision.edges, undrawn, min(eps, default=0.0))
        return plan, [weights[part.edge, part.candidate] for part in plan.convolutions]

    def _undrawn(self, mixture: Mixture, state: int) -> tuple[tuple[int, int], ...]:
        """Edge and candidate of the values that are added to a state because they are not drawn."""
        if not mixture.adds_inactive or state == 0:
            return ()
        edges, row = self.decision.incoming(state), range(mixture.values.shape[1])
        return tuple((edge, k) for edge in edges for k in row if k not in mixture.row(edge))


@lru_cache(maxsize=64)
def _planned(
    parts: tuple[tuple[int, int, Kind], ...],
    edges: tuple[tuple[int, int], ...],
    undrawn: tuple[tuple[tuple[int, int], ...], ...],
    eps: float,
) -> Plan:
    """The plan of terms (edge, candidate, kind); kept, since one step asks for the same several times."""
    return Plan.of([Part(edge, k, *edges[edge], kind) for edge, k, kind in parts], undrawn, eps)


def _kind(operation: nn.Module, channels: int) -> Kind | None:
    """Which term of a `Plan` an operation is; None if it is none."""
    if type(operation) is nn.Identity:
        return "skip"
    if type(operation) is Pool:
        is_plain = operation.average and operation.stride == 1 and isinstance(operation.norm, nn.Identity)
        return "average" if is_plain else None
    shape = stack_shape(operation)
    if shape is None or operation.conv.weight.shape[:2] != (channels, channels):  # type: ignore[union-attr]
        return None
    return _KINDS.get(shape[:5])


class KernelStates(torch.autograd.Function):
    """`apply(plan, values, x, *weights)`: the last state of the cell whose input is x.

    `values` are the mixture (edges, candidates), weights those of the plan's convolutions.
    """

    @staticmethod
    def takes(x: Tensor) -> bool:
        """Whether there are kernels for these images; statistics over several ranks have none."""
        fits = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.ndim == 4
        fits = fits and len(x) > 0 and kernels_on(x.device) is not None
        return fits and KernelStates.pays(x.shape[1]) and x.shape[3] >= 4 and ranks().size == 1

    @staticmethod
    def pays(channels: int) -> bool:
        """Whether there are kernels for so many channels, and they are faster than PyTorch's operations."""
        return channels % 4 == 0 and channels <= MOST_CHANNELS

    @staticmethod
    def forward(ctx: Any, plan: Plan, values: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
        passed = Forward(plan, values.detach().double().numpy(), x.detach(), [weight.detach() for weight in weights])
        ctx.passed = passed
        ctx.save_for_backward(values, x, *weights)
        return passed.size.images(passed.image(plan.states - 1))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs, passed, saved = ctx.needs_input_grad[1:], ctx.passed, ctx.saved_tensors  # refused if changed meanwhile
        if torch.is_grad_enabled():
            return None, *differentiable_gradients(partial(plain_states, passed.plan), saved, g, needs)
        found = Backward(passed, g, needs[1], any(needs[2:]))
        d_x = passed.size.images(found.states[0]) if needs[1] else None
        return None, torch.from_numpy(found.of_values()).to(g.dtype), d_x, *(found.weights or [None] * len(needs[2:]))


def plain_states(plan: Plan, values: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
    """The result of `KernelStates`, in operations that can be differentiated any number of times."""
    states = [x]
    for state in range(1, plan.states):
        terms = [
            values[part.edge, part.candidate] * _term(part, states[part.source], weight, plan.eps)
            for part, weight in zip(
                (*plan.convolutions, *plan.skips, *plan.averages),
                (*weights, *[None] * len((*plan.skips, *plan.averages))),
                strict=True,
            )
            if part.target == state
        ]
        terms += [values[place].expand_as(x) for place in plan.undrawn[state]]
        total = add_up(iter(terms))
        states.append(torch.zeros_like(x) if total is None else total)
    return states[-1]


def _term(part: Part, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """What a value of 1 would add."""
    if weight is not None:
        y = F.conv2d(F.relu(x), weight, padding=weight.shape[-1] // 2)
        return F.batch_norm(y, None, None, training=True, eps=eps)
    return x if part.kind == "skip" else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
