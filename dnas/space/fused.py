"""A cell that computes all operations entering a node as one sum, equal to the per-edge `Cell` (file in progress)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.choice import Cell, SharedPrefix, Zero, add_up, concatenate, dense
from dnas.mixture import Mixture, uniform
from dnas.space.depthwise import _Depthwise
from dnas.space.ops import BatchNorm, DilConv, SepConv


@dataclass(frozen=True)
class Round:
    """Depthwise convolution, 1x1 convolution, batch norm; what is between ReLUs in a separable operation."""

    stride: int
    dilation: int


@dataclass(frozen=True)
class Term:
    """One weighted operation of one edge: `values[edge, candidate] * operation(tensors[slot])`.

    `rounds` are those of a separable operation, whose input is after ReLU; without rounds it is the tensor itself.
    """

    edge: int
    candidate: int
    slot: int
    rounds: tuple[Round, ...]
    eps: float


@dataclass(frozen=True)
class Moments:
    """Of one round's depthwise output z: mean (C,), covariance (C, C); and of y = W z: covariance with z and 1 / sigma."""

    mean: Tensor
    y_with_z: Tensor
    inverse: Tensor


def moments(z: Tensor, weight: Tensor, eps: float) -> Moments:
    channels = z.shape[1]
    count = z.numel() // channels
    gram, total = second_moment(z)
    mean = total / count
    y_with_z = weight.view(-1, channels) @ torch.addr(gram, mean, mean, beta=1 / count, alpha=-1)
    variance = (y_with_z * weight.view(-1, channels)).sum(1)
    return Moments(mean, y_with_z, (variance + eps).rsqrt_())


def second_moment(z: Tensor) -> tuple[Tensor, Tensor]:
    channels = z.shape[1]
    gram, total = cross(z, z, True)
    return gram.view(channels, channels), total


def cross(g: Tensor, z: Tensor, with_sum: bool) -> tuple[Tensor, Tensor]:
    """sum over pixels of g_c z_k (C, K), and of g_c."""
    weight = z.new_empty(g.shape[1], z.shape[1], 1, 1)
    _, product, total = torch.ops.aten.convolution_backward(
        g, z, weight, [g.shape[1]], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, with_sum]
    )
    return product.view(g.shape[1], z.shape[1]), total


def depthwise(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    if stride == 2 and dilation == 2:
        x, stride, dilation = x[:, :, ::2, ::2], 1, 1
    padding = dilation * (weight.shape[-1] // 2)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Depthwise.apply(x, weight, stride, padding, dilation)
    return F.conv2d(x, weight, None, stride, padding, dilation, x.shape[1])


def normalized(z: Tensor, weight: Tensor, scale: Tensor | float, found: Moments) -> Tensor:
    """scale * (W z - mean) / sigma as one 1x1 convolution."""
    folded = weight.view(weight.shape[0], -1) * (found.inverse * scale)[:, None]
    return F.conv2d(z, folded.view_as(weight), -(folded @ found.mean))


def normalized_backward(
    g: Tensor, total: Tensor, z: Tensor, weight: Tensor, scale: Tensor | float, found: Moments
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to z, weight and scale of `normalized`, through the moments as well."""
    w = weight.view(weight.shape[0], -1)
    count = z.numel() // z.shape[1]
    product = torch.addr(cross(g, z, False)[0], total, found.mean, alpha=-1)  # sum of g (z - mean)
    along = (product * w).sum(1) * found.inverse  # sum of g y^
    a = found.inverse * scale
    into_g = w * a[:, None]
    d_weight = (product - found.y_with_z * (along * found.inverse)[:, None]) * a[:, None]
    into_z = (into_g * (along * found.inverse / -count)[:, None]).T @ w
    constant = (total / -count) @ into_g - into_z @ found.mean
    d_z = F.conv2d(z, into_z[:, :, None, None], constant)
    d_z += F.conv2d(g, into_g.T[:, :, None, None])
    return d_z, d_weight.view_as(weight), along.sum()


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: tuple[Term, ...], num_tensors: int, values: Tensor, *tensors: Tensor) -> Tensor:
        weights = iter(tensors[num_tensors:])
        total: Tensor | None = None
        kept: list[Moments] = []
        for term in terms:
            x = tensors[term.slot]
            value = values[term.edge, term.candidate]
            if not term.rounds:
                total = x * value if total is None else total.addcmul_(x, value)
                continue
            for index, round_ in enumerate(term.rounds):
                z = depthwise(x, next(weights), round_.stride, round_.dilation)
                pointwise = next(weights)
                found = moments(z, pointwise, term.eps)
                kept.append(found)
                if index + 1 < len(term.rounds):
                    x = normalized(z, pointwise, 1.0, found).relu_()
                else:
                    y = normalized(z, pointwise, value, found)
                    total = y if total is None else total.add_(y)
        assert total is not None
        ctx.terms, ctx.num_tensors, ctx.kept = terms, num_tensors, kept
        ctx.save_for_backward(values, *tensors)
        return total

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, *tensors = ctx.saved_tensors
        needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            # Views, so that no input is upstream of another (a state and its own ReLU).
            shadows = [tensor.view_as(tensor) for tensor in (values, *tensors)]
            inputs = [t for t, n in zip(shadows, needs[2:], strict=True) if n]
            out = plain_sum(ctx.terms, ctx.num_tensors, *shadows)
            found = iter(torch.autograd.grad(out, inputs, g, create_graph=True))
            return None, None, *(next(found) if n else None for n in needs[2:])
        g = dense(g)
        total = g.sum((0, 2, 3))
        d_tensors: list[Tensor | None] = [None] * len(tensors)
        d_values = torch.zeros_like(values)
        position = ctx.num_tensors
        kept = iter(ctx.kept)
        for term in ctx.terms:
            x, value = tensors[term.slot], values[term.edge, term.candidate]
            if not term.rounds:
                d_values[term.edge, term.candidate] = torch.dot(_flat(g), _flat(x))
                d_x = g * value if needs[3 + term.slot] else None
            else:
                width = 2 * len(term.rounds)
                found = [next(kept) for _ in term.rounds]
                d_x, d_value, d_weights = separable_backward(
                    g, total, x, value, term.rounds, tensors[position : position + width], found, needs[3 + position]
                )
                d_values[term.edge, term.candidate] = d_value
                d_tensors[position : position + width] = d_weights
                position += width
            if d_x is not None:
                before = d_tensors[term.slot]
                d_tensors[term.slot] = d_x if before is None else before.add_(d_x)
        return None, None, d_values, *d_tensors


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(-1)


def separable_backward(
    g: Tensor,
    total: Tensor,
    x: Tensor,
    value: Tensor,
    rounds: Sequence[Round],
    weights: Sequence[Tensor],
    kept: Sequence[Moments],
    for_weights: bool,
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """What lies between is computed again, one term at a time, while it is in the cache."""
    inputs, outputs = [x], []
    for index, round_ in enumerate(rounds):
        outputs.append(depthwise(inputs[-1], weights[2 * index], round_.stride, round_.dilation))
        if index + 1 < len(rounds):
            inputs.append(normalized(outputs[-1], weights[2 * index + 1], 1.0, kept[index]).relu_())
    d_weights: list[Tensor | None] = [None] * len(weights)
    d_value = value
    for index in reversed(range(len(rounds))):
        last = index + 1 == len(rounds)
        if not last:
            g = torch.ops.aten.threshold_backward(g, inputs[index + 1], 0)
            total = g.sum((0, 2, 3))
        d_z, d_pointwise, along = normalized_backward(
            g, total, outputs[index], weights[2 * index + 1], value if last else 1.0, kept[index]
        )
        if last:
            d_value = along
        with torch.enable_grad():
            u = inputs[index].detach().requires_grad_()
            w = weights[2 * index].detach().requires_grad_(for_weights)
            z = depthwise(u, w, rounds[index].stride, rounds[index].dilation)
        found = torch.autograd.grad(z, [u, w] if for_weights else [u], d_z)
        g = found[0]
        if for_weights:
            d_weights[2 * index], d_weights[2 * index + 1] = found[1], d_pointwise
    return g, d_value, d_weights


def plain_sum(terms: Sequence[Term], num_tensors: int, values: Tensor, *tensors: Tensor) -> Tensor:
    """The same sum in differentiable operations, for second derivatives."""
    weights = iter(tensors[num_tensors:])
    total: Tensor | None = None
    for term in terms:
        x, value = tensors[term.slot], values[term.edge, term.candidate]
        for index, round_ in enumerate(term.rounds):
            x = x if index == 0 else F.relu(x)
            x = F.conv2d(depthwise(x, next(weights), round_.stride, round_.dilation), next(weights))
            x = F.batch_norm(x, None, None, training=True, eps=term.eps)
        total = value * x if total is None else total + value * x
    assert total is not None
    return total


class FusedCell(Cell):
    def forward(self, *inputs: Tensor) -> Tensor:
        mixture = self._mixture or uniform(self.decision.shape, inputs[0])
        values = mixture.values
        if self._edge_mixture is not None:
            values = values * self._edge_mixture.values[:, None]
        states: dict[int, Tensor] = dict(enumerate(inputs))
        prefixes: dict[tuple[int, Hashable], Tensor] = {}
        for node in self.decision.nodes:
            total = add_up(self._node(node, mixture, values, states, prefixes))
            states[node] = self._zero_node(node, states) if total is None else total
            if states[node].requires_grad:
                states[node].register_hook(dense)
        return concatenate(states, self.decision.output)

    def _node(
        self,
        node: int,
        mixture: Mixture,
        values: Tensor,
        states: Mapping[int, Tensor],
        prefixes: dict[tuple[int, Hashable], Tensor],
    ) -> Iterator[Tensor]:
        terms: list[Term] = []
        slots: dict[tuple[int, Hashable], Tensor] = {}
        weights: list[Tensor] = []
        rest: list[tuple[nn.Module, Tensor, Tensor]] = []
        for edge in self.decision.incoming(node):
            source = self.decision.edges[edge][0]
            for k in mixture.row(edge):
                operation = self.operations[edge][k]  # type: ignore[index]
                if isinstance(operation, Zero):
                    continue
                key = (source, operation.prefix_key if isinstance(operation, SharedPrefix) else "state")
                if key not in prefixes:
                    prefixes[key] = (
                        operation.prefix(states[source]) if isinstance(operation, SharedPrefix) else states[source]
                    )
                rounds = rounds_of(operation)
                if rounds is None:
                    rest.append((operation, prefixes[key], values[edge, k]))
                    continue
                slots[key] = prefixes[key]
                parameters, rounds, eps = rounds
                weights += parameters
                terms.append(Term(edge, k, list(slots).index(key), rounds, eps))
        if terms:
            yield _Node.apply(tuple(terms), len(slots), values, *slots.values(), *weights)  # type: ignore[misc]
        for operation, x, weight in rest:
            yield operation.weighted_rest(x, weight) if isinstance(operation, SharedPrefix) else weight * operation(x)


def rounds_of(operation: nn.Module) -> tuple[list[Tensor], tuple[Round, ...], float] | None:
    from dnas.space.ops import Pool

    if isinstance(operation, nn.Identity) or (isinstance(operation, Pool) and operation.norm_is_shared):
        return [], (), 0.0
    if isinstance(operation, SepConv):
        pairs = [(operation.depthwise1, operation.pointwise1), (operation.depthwise2, operation.pointwise2)]
    elif isinstance(operation, DilConv):
        pairs = [(operation.depthwise, operation.pointwise)]
    else:
        return None
    if not isinstance(operation.norm, BatchNorm) or operation.norm.affine or operation.norm.track_running_stats:
        return None
    weights = [w for pair in pairs for w in (pair[0].weight, pair[1].weight)]
    return weights, tuple(Round(dw.stride[0], dw.dilation[0]) for dw, _ in pairs), operation.norm.eps
