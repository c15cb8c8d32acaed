"""The weighted sum of a node's operations as one autograd function that saves only the node's inputs.

A node is a sum of weighted terms, `sum_t m_t f_t(x_t)`, one for each operation of each edge. `NodeSum` computes all
of them in one autograd function that saves only the x_t; intermediate results are recomputed in the backward pass, one
term at a time.

A separable operation ends in a depthwise convolution with output z, a 1x1 convolution W, and batch norm without
parameters. That is linear in z once the moments of W z are known, and those follow from the moments of z:

    BN(W z) = W (z - mean z) / sigma,      sigma^2 = diag(W Cov(z) W^T) + eps

So m BN(W z) is one 1x1 convolution with weights m W / sigma and a bias; W z is never formed. Backward, with g the
gradient of the result, M = sum over pixels of g (z - mean z)^T, P the number of pixels and s = diag(M W^T) / sigma:

    d_m = sum s      d_W = (m / sigma) (M - (s / sigma) W Cov(z))
    d_z = A^T (g - mean g) - B (z - mean z),      A = (m / sigma) W,      B = W^T diag(m s / (P sigma^2)) W

Cov(z) = E[z z^T] - mean mean^T, so the relative error of sigma^2 is that of the sums times |W|^2 E|z|^2 / sigma^2. In
float32 the results of a cell were as close to float64 as those of the per-edge form.

It saves no time on a CPU: a 1x1 convolution of 16 channels runs there at the processor's peak, and the three
additional ones of this form (Cov(z), B z, and the recomputation) cost what the passes of batch norm did. Processing a
few images at a time did not help, nor did keeping z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.core.candidates import add_up
from dnas.space.depthwise import depthwise
from dnas.space.second_derivatives import differentiable_gradients


@dataclass(frozen=True)
class Round:
    """Depthwise convolution of this stride and dilation, 1x1 convolution, batch norm."""

    stride: int
    dilation: int


@dataclass(frozen=True)
class Term:
    """`values[edge, candidate] * f(x)`, where x is number `slot` of the tensors that enter the node.

    With `rounds`, f is separable: each round has two weights, depthwise and 1x1, and there is a ReLU between rounds.
    With `relu_first` there is one before the first; otherwise x comes after ReLU. Without rounds, f(x) = x.
    """

    edge: int
    candidate: int
    slot: int
    rounds: tuple[Round, ...]
    eps: float
    relu_first: bool = False


@dataclass(frozen=True)
class Moments:
    """Moments of z (batch, K, height, width) and y = W z: mean z (K,), W Cov(z) (C, K), 1 / sigma (C,), pixels."""

    mean: Tensor
    y_with_z: Tensor
    inverse: Tensor
    count: int


def moments(z: Tensor, weight: Tensor, eps: float) -> Moments:
    """The moments of batch norm in the fused form; this is where they would be averaged over ranks."""
    count = z.numel() // z.shape[1]
    mean = z.sum((0, 2, 3)) / count
    y_with_z = weight.flatten(1) @ torch.addr(cross(z, z), mean, mean, beta=1 / count, alpha=-1)
    variance = (y_with_z * weight.flatten(1)).sum(1)
    # Rounding may leave the variance of a constant channel below 0.
    return Moments(mean, y_with_z, (variance.clamp_min(0) + eps).rsqrt(), count)


def cross(g: Tensor, z: Tensor) -> Tensor:
    """sum over images and pixels of g_c z_k, (C, K): the weight gradient of a 1x1 convolution."""
    kernel = z.new_empty(g.shape[1], z.shape[1], 1, 1)
    arguments = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False])
    return torch.ops.aten.convolution_backward(g, z, kernel, *arguments)[1].flatten(1)


def normalized(z: Tensor, weight: Tensor, scale: Tensor | float, found: Moments) -> Tensor:
    """scale * BN(W z), from the moments of z."""
    folded = weight.flatten(1) * (found.inverse * scale)[:, None]
    return F.conv2d(z, folded[:, :, None, None], -(folded @ found.mean))


def normalized_backward(
    g: Tensor, z: Tensor, weight: Tensor, scale: Tensor | float, found: Moments
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `normalized` with respect to z, weight and scale, through the moments as well."""
    w, a = weight.flatten(1), found.inverse * scale
    g_total = g.sum((0, 2, 3))
    m = torch.addr(cross(g, z), g_total, found.mean, alpha=-1)
    s = (m * w).sum(1) * found.inverse
    along = s * found.inverse
    into_g = w * a[:, None]
    into_z = (into_g * (along / -found.count)[:, None]).T @ w
    constant = (g_total / -found.count) @ into_g - into_z @ found.mean
    d_z = F.conv2d(z, into_z[:, :, None, None], constant)
    d_z += F.conv2d(g, into_g.T[:, :, None, None])
    d_weight = (m - found.y_with_z * along[:, None]) * a[:, None]
    return d_z, d_weight.view_as(weight), s.sum()


class NodeSum(torch.autograd.Function):
    """The sum of the terms of a node.

    `apply(terms, num_inputs, values, *tensors)`: `values` are the mixture (edges, candidates); the first `num_inputs`
    tensors are the inputs of the node, the others the weights of all terms in order.
    """

    relu_first = False

    @staticmethod
    def takes(x: Tensor, weights: Sequence[Tensor]) -> bool:
        """Whether it computes terms of these weights on x: all of them."""
        return True

    @staticmethod
    def forward(ctx: Any, terms: tuple[Term, ...], num_inputs: int, values: Tensor, *tensors: Tensor) -> Tensor:
        result: Tensor | None = None
        found: list[list[Moments]] = []
        for term, weights in weights_of(terms, tensors[num_inputs:]):
            x, value = tensors[term.slot], values[term.edge, term.candidate]
            found.append([])
            if not term.rounds:
                result = x * value if result is None else result.addcmul_(x, value)
                continue
            for index, round_ in enumerate(term.rounds):
                last = index == len(term.rounds) - 1
                z, pointwise = _depthwise(x, weights[2 * index], round_), weights[2 * index + 1]
                found[-1].append(moments(z, pointwise, term.eps))
                x = normalized(z, pointwise, value if last else 1.0, found[-1][-1])
                x = x if last else x.relu_()
            result = x if result is None else result.add_(x)
        assert result is not None
        ctx.terms, ctx.num_inputs, ctx.found, ctx.layout = terms, num_inputs, found, _layout(result)
        ctx.save_for_backward(values, *tensors)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs = ctx.needs_input_grad[2:]
        values, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (
                None,
                None,
                *differentiable_gradients(partial(plain_sum, ctx.terms, ctx.num_inputs), (values, *tensors), g, needs),
            )
        g = g.contiguous(memory_format=ctx.layout)
        d_values = torch.zeros_like(values)
        d_inputs: list[Tensor | None] = [None] * ctx.num_inputs
        d_weights: list[Tensor | None] = []
        all_weights = weights_of(ctx.terms, tensors[ctx.num_inputs :])
        for (term, weights), found in zip(all_weights, ctx.found, strict=True):
            x, value, before = tensors[term.slot], values[term.edge, term.candidate], d_inputs[term.slot]
            if term.rounds:
                first = 1 + ctx.num_inputs + len(d_weights)
                for_weights = any(needs[first : first + len(weights)])
                d_x, d_value, own = _separable_backward(term.rounds, g, x, value, weights, found, for_weights)
                d_inputs[term.slot] = d_x if before is None else before.add_(d_x)
                d_weights += own
            else:
                d_value = _inner(g, x)
                d_inputs[term.slot] = g * value if before is None else before.addcmul_(g, value)
            d_values[term.edge, term.candidate] = d_value
        return None, None, d_values, *d_inputs, *d_weights


def _separable_backward(
    rounds: Sequence[Round],
    g: Tensor,
    x: Tensor,
    value: Tensor,
    weights: Sequence[Tensor],
    found: Sequence[Moments],
    for_weights: bool,
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients of input, value and weights of a separable term; its intermediate results are recomputed."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    for index, round_ in enumerate(rounds):
        if index:
            x = normalized(calls[-1][2].detach(), weights[2 * index - 1], 1.0, found[index - 1]).relu_()
        with torch.enable_grad():
            leaf, kernel = x.detach().requires_grad_(), weights[2 * index].detach().requires_grad_(for_weights)
            calls.append((leaf, kernel, _depthwise(leaf, kernel, round_)))
    d_value = value
    d_weights: list[Tensor | None] = [None] * len(weights)
    for index in range(len(rounds) - 1, -1, -1):
        last = index == len(rounds) - 1
        leaf, kernel, z = calls.pop()
        pointwise = weights[2 * index + 1]
        g, d_pointwise, d_scale = normalized_backward(g, z.detach(), pointwise, value if last else 1.0, found[index])
        if last:
            d_value = d_scale
        d_leaf, *d_kernel = torch.autograd.grad(z, [leaf, kernel] if for_weights else [leaf], g)
        if for_weights:
            d_weights[2 * index], d_weights[2 * index + 1] = d_kernel[0], d_pointwise
        g = torch.ops.aten.threshold_backward(d_leaf, leaf.detach(), 0) if index else d_leaf
    return g, d_value, d_weights


def plain_sum(terms: Sequence[Term], num_inputs: int, values: Tensor, *tensors: Tensor) -> Tensor:
    """The result of `NodeSum`, in operations that can be differentiated any number of times."""
    parts = []
    for term, weights in weights_of(terms, tensors[num_inputs:]):
        x = tensors[term.slot]
        for index, round_ in enumerate(term.rounds):
            z = _depthwise(F.relu(x) if index or term.relu_first else x, weights[2 * index], round_)
            x = F.batch_norm(F.conv2d(z, weights[2 * index + 1]), None, None, training=True, eps=term.eps)
        parts.append(values[term.edge, term.candidate] * x)
    result = add_up(iter(parts))
    assert result is not None
    return result


def weights_of(terms: Sequence[Term], weights: Sequence[Tensor]) -> Iterator[tuple[Term, Sequence[Tensor]]]:
    """Each term with its own part of all weights."""
    first = 0
    for term in terms:
        yield term, weights[first : first + 2 * len(term.rounds)]
        first += 2 * len(term.rounds)


def _depthwise(x: Tensor, weight: Tensor, round_: Round) -> Tensor:
    return depthwise(x, weight, stride=round_.stride, dilation=round_.dilation)


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.stride(1) == 1 else torch.contiguous_format


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a * b, for an `a` without gaps in memory."""
    b = b.contiguous(memory_format=_layout(a))
    order = (0, 2, 3, 1) if a.stride(1) == 1 else (0, 1, 2, 3)
    return torch.dot(a.permute(order).reshape(-1), b.permute(order).reshape(-1))
