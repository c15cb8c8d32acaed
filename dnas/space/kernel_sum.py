"""The weighted sum of a node's operations as one autograd function on the kernels of `dnas.kernels`.

It is the sum of `dnas.space.node_sum`, `sum_t m_t f_t(x_t)`. A separable f is one or two rounds of ReLU, depthwise and
1x1 convolution, and batch norm without parameters. What is kept is the input y of each batch norm; no normalised,
weighted or summed result of an operation is ever written but the node itself, since

    sum_t m_t BN(y_t) = sum_t (m_t / sigma_t) y_t - sum_t m_t mean_t / sigma_t

Backward, with g the gradient of the node, P the number of pixels, and sums over images and pixels,

    d_m_t = (sum g y_t - mean_t sum g) / sigma_t      =: S_t, added up over channels
    d_y_t = (m_t / sigma_t) (g - sum g / P - (y_t - mean_t) S_t / (sigma_t P))

where d_y is computed as the chain's backward pass reads g and y. All separable operations of an edge go through their
images together, so that the images are read, and their gradient written, once. A term that is not separable counts as
one with mean 0 and sigma 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from dnas.distributed.ranks import ranks
from dnas.kernels.chains import Norm
from dnas.kernels.choice import kernels_on
from dnas.kernels.devices import DEPTHWISE_SIZES, Array, Chains, Kernels, Outer, Sizes
from dnas.space.node_sum import Term, plain_sum, weights_of
from dnas.space.second_derivatives import differentiable_gradients


class KernelSum(torch.autograd.Function):
    """The sum of the terms of a node, called as `dnas.space.node_sum.NodeSum`; ReLU is part of separable terms."""

    relu_first = True

    @staticmethod
    def takes(x: Tensor, weights: Sequence[Tensor]) -> bool:
        """Whether there are kernels for terms of these weights on x; statistics over several ranks have none."""
        kernels = kernels_on(x.device)
        fits = x.dtype in (torch.float32, torch.float64) and x.ndim == 4 and len(x) > 0 and ranks().size == 1
        sizes = {weight.shape[-1] for weight in weights[::2]}
        return kernels is not None and fits and kernels.take(x.shape[1]) and sizes <= DEPTHWISE_SIZES

    @staticmethod
    def forward(ctx: Any, terms: tuple[Term, ...], num_inputs: int, values: Tensor, *tensors: Tensor) -> Tensor:
        kernels = kernels_on(values.device)
        assert kernels is not None
        return node_sum(kernels, ctx, terms, num_inputs, values, *tensors)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs = ctx.needs_input_grad[2:]
        values, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = (values, *tensors)
            return None, None, *differentiable_gradients(partial(plain_sum, ctx.terms, ctx.num_inputs), given, g, needs)
        for_inputs, for_weights = needs[1 : 1 + ctx.num_inputs], any(needs[1 + ctx.num_inputs :])
        return None, None, *Gradients(ctx.node, values, g).of_all(for_inputs, for_weights)


def node_sum(
    kernels: Kernels, ctx: Any, terms: tuple[Term, ...], num_inputs: int, values: Tensor, *tensors: Tensor
) -> Tensor:
    """The forward pass of a `KernelSum` on these kernels; `ctx` gets what the backward pass needs."""
    inputs = [x.detach().contiguous(memory_format=torch.channels_last) for x in tensors[:num_inputs]]
    node = Node.of(kernels, terms, inputs, [weight.detach() for weight in tensors[num_inputs:]])
    scale, shift = node.norm.affine(kernels.mixture(values, node.places))
    ctx.terms, ctx.num_inputs, ctx.node = terms, num_inputs, node
    ctx.save_for_backward(values, *tensors)
    return kernels.tensor(kernels.weighted_sum(node.y, scale, shift.sum(0), node.sizes), node.sizes)


@dataclass(frozen=True)
class Node:
    """What the forward pass keeps.

    Args:
        terms: those that are separable, then the others.
        inputs: of the node, channels-last.
        firsts: the first rounds of the separable terms, with the numbers of the terms.
        seconds: the second rounds, by number.
        y: what each term gives before its last batch norm.
        inner, norm: batch norms between two rounds, in the order of `seconds`, and the last ones of all terms.
        sizes: of the node: number of images, height, width, channels.
    """

    kernels: Kernels
    terms: tuple[Term, ...]
    inputs: Sequence[Tensor]
    firsts: Sequence[tuple[Sequence[int], Chains]]
    seconds: dict[int, Chains]
    y: Sequence[Array]
    inner: Norm | None
    norm: Norm
    sizes: Sizes

    @property
    def places(self) -> list[tuple[int, int]]:
        """Edge and candidate of each term."""
        return [(term.edge, term.candidate) for term in self.terms]

    @staticmethod
    def of(kernels: Kernels, terms: tuple[Term, ...], inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Node:
        """The rounds of all terms, forward."""
        terms = tuple(sorted(terms, key=lambda term: not term.rounds))
        pairs = [list(zip(own[::2], own[1::2], strict=True)) for _, own in weights_of(terms, weights)]
        firsts, y, totals = _first_rounds(kernels, terms, inputs, pairs)
        sizes = firsts[0][1].out_sizes if firsts else _sizes(inputs[terms[0].slot])
        count = prod(sizes[:3])
        two = [number for number, term in enumerate(terms) if len(term.rounds) == 2]
        inner, seconds = None, {}
        if two:
            inner = Norm.of(kernels.rows([totals[n] for n in two]), count, kernels.column(_eps(terms, two)))
            for number, scale, shift in zip(two, *inner.affine(1.0), strict=True):
                dilations, (_, pair) = [terms[number].rounds[1].dilation], pairs[number]
                seconds[number] = kernels.chains(y[number], (scale, shift), sizes, 1, dilations, [pair])
                (y[number],), (totals[number],) = seconds[number].forward()
        norm = _last_norms(kernels, terms, totals, sizes)
        return Node(kernels, terms, inputs, firsts, seconds, [y[n] for n in range(len(terms))], inner, norm, sizes)


def _first_rounds(
    kernels: Kernels, terms: Sequence[Term], inputs: Sequence[Tensor], pairs: Sequence[Sequence[tuple[Tensor, Tensor]]]
) -> tuple[list[tuple[list[int], Chains]], dict[int, Array], dict[int, Array]]:
    """The first rounds of the separable terms; y of all terms, and the sums of those that have a batch norm."""
    firsts, totals = [], {}
    y = {number: kernels.images(inputs[term.slot]) for number, term in enumerate(terms) if not term.rounds}
    for numbers in _of_one_input(terms):
        x, rounds = inputs[terms[numbers[0]].slot], [terms[number].rounds[0] for number in numbers]
        own, dilations = [pairs[number][0] for number in numbers], [round_.dilation for round_ in rounds]
        chains = kernels.chains(kernels.images(x), None, _sizes(x), rounds[0].stride, dilations, own)
        firsts.append((numbers, chains))
        own_y, total = chains.forward()
        y |= zip(numbers, own_y, strict=True)
        totals |= zip(numbers, total, strict=True)
    return firsts, y, totals


def _of_one_input(terms: Sequence[Term]) -> Iterator[list[int]]:
    """The numbers of separable terms that read the same images with the same stride."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, term in enumerate(terms):
        if term.rounds:
            groups.setdefault((term.slot, term.rounds[0].stride), []).append(number)
    yield from groups.values()


def _last_norms(kernels: Kernels, terms: Sequence[Term], totals: dict[int, Array], sizes: Sizes) -> Norm:
    """The last batch norm of each term."""
    others, numbers = len(terms) - len(totals), range(len(totals))
    means, inverses = [], []
    if totals:
        total, eps = kernels.rows([totals[n] for n in numbers]), kernels.column(_eps(terms, numbers))
        found = Norm.of(total, prod(sizes[:3]), eps)
        means, inverses = list(found.mean), list(found.inverse)
    zero, one = (kernels.column((number,) * sizes[3])[:, 0] for number in (0.0, 1.0))
    return Norm(kernels.rows(means + [zero] * others), kernels.rows(inverses + [one] * others), prod(sizes[:3]))


def _eps(terms: Sequence[Term], numbers: Sequence[int]) -> tuple[float, ...]:
    return tuple(terms[number].eps for number in numbers)


def _sizes(x: Tensor) -> Sizes:
    """Number of images, height, width, channels."""
    batch, channels, height, width = x.shape
    return batch, height, width, channels


class Gradients:
    """The backward pass of a `KernelSum`, from what its forward pass kept, the mixture and the node's gradient."""

    def __init__(self, node: Node, values: Tensor, g: Tensor):
        self.node, self.kernels, self.values = node, node.kernels, values
        self.g = node.kernels.images(g.contiguous(memory_format=torch.channels_last))
        total = node.kernels.gradient_sums(node.y, self.g, node.sizes)
        self.mixture = node.kernels.mixture(values, node.places)
        self.factors, self.of_mixture = node.norm.gradient(total[-1], total[:-1], self.mixture)

    def of_all(self, for_inputs: Sequence[bool], for_weights: bool) -> Iterator[Tensor | None]:
        """The gradients of the mixture, of the node's inputs that need one, and of all weights if they are wanted."""
        node = self.node
        needed = [one for one in node.firsts if for_weights or for_inputs[self._slot(one[0])]]
        inner, d_weights = self._through_seconds([n for numbers, _ in needed for n in numbers], for_weights)
        plain = self._plain_factors()
        d_inputs: list[Tensor | None] = [None] * len(node.inputs)
        for numbers, chains in needed:
            slot = self._slot(numbers)
            added = (self.g, plain.pop(slot)) if slot in plain else None
            outer, wanted = self._outer(numbers, inner), (for_inputs[slot], for_weights)
            gradient, _, own = chains.backward(outer, added, wanted)
            for place, number in enumerate(numbers):
                d_weights[number] = own[2 * place : 2 * place + 2] + d_weights.get(number, [])
            if for_inputs[slot]:
                found, before = self.kernels.tensor(gradient, chains.sizes), d_inputs[slot]
                d_inputs[slot] = found if before is None else before.add_(found)
        for slot, factor in plain.items():
            if for_inputs[slot]:
                d_inputs[slot] = self.kernels.tensor(self.kernels.scaled(self.g, factor), node.sizes)
        yield self.kernels.spread(self.of_mixture, node.places, self.values)
        yield from d_inputs
        for number, term in enumerate(node.terms):
            yield from d_weights[number] if for_weights and term.rounds else [None] * (2 * len(term.rounds))

    def _slot(self, numbers: Sequence[int]) -> int:
        """The node's input that these terms read."""
        return self.node.terms[numbers[0]].slot

    def _plain_factors(self) -> dict[int, Array]:
        """For each input that enters the node as it is, the sum of its values in the mixture, (1,)."""
        factors: dict[int, Array] = {}
        for number, term in enumerate(self.node.terms):
            if not term.rounds:
                before, own = factors.get(term.slot), self.mixture[number]
                factors[term.slot] = own if before is None else before + own
        return factors

    def _through_seconds(
        self, numbers: Sequence[int], for_weights: bool
    ) -> tuple[dict[int, tuple[Array, tuple[Array, Array, Array]]], dict[int, list[Tensor]]]:
        """Of the terms with these numbers that have two rounds: the gradient of the first one's y, as images and the
        factors a, b, c of `Outer`; and the gradients of the second one's weights.
        """
        node, gradients, d_weights = self.node, {}, {}
        sums = {number: self.kernels.column((0.0,) * (2 * node.sizes[3])).reshape(2, -1) for number in node.seconds}
        for number in node.seconds.keys() & numbers:
            outer = Outer([self.g], [node.y[number]], [_rows(self.factors, number)])
            gradients[number], sums[number], d_weights[number] = node.seconds[number].backward(
                outer, None, (True, for_weights)
            )
        if not gradients:
            return {}, {}
        assert node.inner is not None
        total = self.kernels.rows(list(sums.values()))
        factors, _ = node.inner.gradient(total[:, 0], total[:, 1], 1.0)
        places = {number: place for place, number in enumerate(node.seconds)}
        return {number: (g, _rows(factors, places[number])) for number, g in gradients.items()}, d_weights

    def _outer(self, numbers: Sequence[int], inner: dict[int, tuple[Array, tuple[Array, Array, Array]]]) -> Outer:
        """The gradient of what the first rounds of these terms gave."""
        found = [inner.get(number, (self.g, _rows(self.factors, number))) for number in numbers]
        y = [self.node.seconds[n].x if n in self.node.seconds else self.node.y[n] for n in numbers]
        return Outer([g for g, _ in found], y, [factors for _, factors in found])


def _rows(factors: tuple[Array, Array, Array], row: int) -> tuple[Array, Array, Array]:
    a, b, c = factors
    return a[row], b[row], c[row]
