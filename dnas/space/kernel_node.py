"""A node of a found network as one autograd function on the CPU kernels of `dnas.kernels`.

    node = sum_t d_t f_t(x_t)

where f_t is a separable operation, one or two rounds of ReLU, depthwise and 1x1 convolution and affine batch norm, or
x_t itself, and d_t is drop-path's factor for each image. As in `dnas.space.kernel_sum`, what is kept is the input y of
each batch norm, and no normalised or summed result is written but the node itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.kernels.affine import AffineNorm
from dnas.kernels.cpu import CpuKernels
from dnas.kernels.devices import Array, Chains, Outer, Sizes
from dnas.space.depthwise import depthwise
from dnas.space.kernel_affine import affine_norm, masked_gradient_sums_of, masked_sum_of
from dnas.space.second_derivatives import differentiable_gradients

_PER_ROUND = 4  # weights: depthwise, 1x1, and batch norm's weight and bias


@dataclass(frozen=True)
class AffineRound:
    """Depthwise convolution of this stride and dilation, 1x1 convolution, affine batch norm."""

    stride: int
    dilation: int
    norm: nn.BatchNorm2d


@dataclass(frozen=True)
class Edge:
    """`factor * f(x)`: without rounds f(x) = x; the factor is (batch, 1, 1, 1), or None for 1."""

    rounds: tuple[AffineRound, ...]
    factor: Tensor | None


class Step(NamedTuple):
    """A round that was computed."""

    chains: Chains
    y: Array
    norm: AffineNorm


class KernelNode(torch.autograd.Function):
    """`apply(edges, *tensors)`: the sum of the edges; the tensors are x of each edge, each followed by its weights."""

    @staticmethod
    def forward(ctx: Any, edges: tuple[Edge, ...], *tensors: Tensor) -> Tensor:
        kernels = CpuKernels()
        steps: list[list[Step]] = []
        terms, affine = [], []
        sizes: Sizes = (0, 0, 0, 0)
        for edge, (x, weights) in zip(edges, _split(edges, tensors), strict=True):
            images = kernels.images(x.detach().contiguous(memory_format=torch.channels_last))
            batch, channels, height, width = x.shape
            sizes = (batch, height, width, channels)
            steps.append(_steps(kernels, edge.rounds, images, sizes, [weight.detach() for weight in weights]))
            if edge.rounds:
                chains, images, norm = steps[-1][-1]
                sizes = chains.out_sizes
                affine.append(norm.scale_and_shift)
            else:
                affine.append((np.ones(sizes[3]), np.zeros(sizes[3])))
            terms.append(images)
        factors = np.stack([_factor(edge, terms[0], len(tensors[0])) for edge in edges])
        ctx.edges, ctx.kept = edges, (kernels, steps, factors, sizes)
        ctx.save_for_backward(*tensors)
        return kernels.tensor(masked_sum_of(terms, factors, affine, sizes), sizes)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs, saved = ctx.needs_input_grad[1:], ctx.saved_tensors  # refused if changed meanwhile
        if torch.is_grad_enabled():
            return None, *differentiable_gradients(partial(_plain_node, ctx.edges), saved, g, needs)
        kernels, steps, factors, sizes = ctx.kept
        g = g.contiguous(memory_format=torch.channels_last)
        separable = [number for number, own in enumerate(steps) if own]
        ys = [steps[number][-1].y for number in separable]
        sums = zip(*masked_gradient_sums_of(kernels.images(g), ys, factors[separable], sizes), strict=True)
        found: list[Tensor | None] = []
        for number, edge in enumerate(ctx.edges):
            own_needs = needs[len(found) : len(found) + 1 + _PER_ROUND * len(edge.rounds)]
            if edge.rounds:
                masked = g if edge.factor is None else g * edge.factor
                found += _edge_backward(kernels, steps[number], kernels.images(masked), next(sums), own_needs)
            else:
                found.append(g if own_needs[0] else None)
        return None, *found


def _split(edges: Sequence[Edge], tensors: Sequence[Tensor]) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
    """x of each edge and the edge's weights."""
    first = 0
    for edge in edges:
        count = _PER_ROUND * len(edge.rounds)
        yield tensors[first], tensors[first + 1 : first + 1 + count]
        first += 1 + count


def _steps(
    kernels: CpuKernels, rounds: Sequence[AffineRound], images: Array, sizes: Sizes, weights: Sequence[Tensor]
) -> list[Step]:
    """The rounds on images, one after another."""
    found: list[Step] = []
    affine: tuple[Array, Array] | None = None
    for index, own in enumerate(rounds):
        kernel, matrix = weights[_PER_ROUND * index : _PER_ROUND * index + 2]
        chains = kernels.chains(images, affine, sizes, own.stride, [own.dilation], [(kernel, matrix)])
        (images,), total = chains.forward()
        sizes = chains.out_sizes
        found.append(Step(chains, images, affine_norm(own.norm, total, prod(sizes[:3]))))
        affine = found[-1].norm.scale_and_shift
    return found


def _factor(edge: Edge, like: Array, batch: int) -> Array:
    return np.ones(batch, like.dtype) if edge.factor is None else edge.factor.reshape(batch).numpy()


def _edge_backward(
    kernels: CpuKernels, steps: Sequence[Step], g: Array, sums: tuple[Array, Array], needs: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of x and of the weights of a separable edge; `sums` are those of g and of g y of its last round."""
    of_g, of_g_y = sums
    found: list[Tensor] = []
    for index in range(len(steps) - 1, -1, -1):
        chains, y, norm = steps[index]
        factors, d_weight, d_bias = norm.gradient(of_g, of_g_y)
        wanted = (index > 0 or needs[0], any(needs[1:]))
        g, (of_g, of_g_y), own = chains.backward(Outer([g], [y], [factors]), None, wanted)
        found = [*own, *(torch.from_numpy(one.astype(y.dtype)) for one in (d_weight, d_bias)), *found]
    d_x = kernels.tensor(g, steps[0].chains.sizes) if needs[0] else None
    return [d_x, *(one if need else None for one, need in zip(found, needs[1:], strict=True))]


def _plain_node(edges: Sequence[Edge], *tensors: Tensor) -> Tensor:
    """The result of `KernelNode` in operations that can be differentiated any number of times."""
    total: Tensor | None = None
    for edge, (x, weights) in zip(edges, _split(edges, tensors), strict=True):
        for index, own in enumerate(edge.rounds):
            kernel, matrix, weight, bias = weights[_PER_ROUND * index : _PER_ROUND * (index + 1)]
            y = F.conv2d(depthwise(F.relu(x), kernel, stride=own.stride, dilation=own.dilation), matrix)
            x = F.batch_norm(y, None, None, weight, bias, training=True, eps=own.norm.eps)
        x = x if edge.factor is None else x * edge.factor
        total = x if total is None else total + x
    assert total is not None
    return total
