"""Operators that move elements: they act on the labels as on the elements."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import Tensor

from dnas.shrinking.book import Call, placed
from dnas.shrinking.channels import FIXED, Field, compress, vary


def view(call: Call) -> None:
    """Reshaping: of a dimension that is taken apart only one factor may change."""
    tensor = call.arguments[0]
    groups = _groups(tuple(tensor.shape), tuple(call.out.shape))
    fields = []
    for labels in call.fields(tensor):
        reshaped = _reshape(labels, tuple(tensor.shape), tuple(call.out.shape), groups)
        fields.append(reshaped)
        call.book.splits.append(reshaped)
        for counted in (labels, reshaped):
            for axis in range(counted.ndim):
                if vary(counted, axis):
                    call.size(counted, axis)
    call.give(call.out, tuple(fields))


Groups = list[tuple[list[int], list[int]]]


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> Groups:
    """The smallest runs of old and new dimensions that hold the same elements."""
    groups: Groups = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while prod(old[start_i:i]) != prod(new[start_j:j]):
            if prod(old[start_i:i]) < prod(new[start_j:j]):
                i += 1
            else:
                j += 1
        groups.append(([*range(start_i, i)], [*range(start_j, j)]))
    return groups


def _reshape(labels: Field, old: tuple[int, ...], new: tuple[int, ...], groups: Groups) -> Field:
    """Runs of dimensions along which the labels do not vary stay small."""
    before: list[int] = []
    after: list[int] = []
    for olds, news in groups:
        varies = any(vary(labels, axis) for axis in olds)
        before += [old[axis] if varies else 1 for axis in olds]
        after += [new[axis] if varies else 1 for axis in news]
    return compress(np.broadcast_to(labels, before).reshape(after))


def permute(call: Call) -> None:
    _moved(call, tuple(call.arguments[1]))


def transpose(call: Call) -> None:
    tensor, first, second = call.arguments[:3]
    order = [*range(tensor.ndim)]
    order[first], order[second] = order[second], order[first]
    _moved(call, tuple(order))


def turned(call: Call) -> None:
    """A matrix turned over: `t`."""
    _moved(call, tuple(reversed(range(call.arguments[0].ndim))))


def _moved(call: Call, order: tuple[int, ...]) -> None:
    call.give(call.out, tuple(labels.transpose(order) for labels in call.fields(call.arguments[0])))


def unsqueeze(call: Call) -> None:
    tensor, axis = call.arguments[:2]
    place = axis % (tensor.ndim + 1)
    call.give(call.out, tuple(np.expand_dims(labels, place) for labels in call.fields(tensor)))


def squeeze(call: Call) -> None:
    """All dimensions of size 1 that were named, or all there are."""
    tensor = call.arguments[0]
    named = call.arguments[1] if len(call.arguments) > 1 else [*range(tensor.ndim)]
    axes = {axis % tensor.ndim for axis in (named if isinstance(named, list | tuple) else [named])}
    gone = tuple(axis for axis in axes if tensor.shape[axis] == 1)
    call.give(call.out, tuple(np.squeeze(labels, gone) for labels in call.fields(tensor)))


def expand(call: Call) -> None:
    more = call.out.ndim - call.arguments[0].ndim
    call.give(call.out, tuple(labels.reshape((1,) * more + labels.shape) for labels in call.fields(call.arguments[0])))


def repeat(call: Call) -> None:
    """Copies carry the labels of what they are copies of."""
    tensor, times = call.arguments[:2]
    fields = []
    for labels in call.fields(tensor):
        labels = labels.reshape((1,) * (call.out.ndim - labels.ndim) + labels.shape)
        fields.append(np.tile(labels, [n if vary(labels, axis) else 1 for axis, n in enumerate(times)]))
    call.give(call.out, tuple(fields))


def concatenate(call: Call) -> None:
    """Channels one after the other; a part without labels stays."""
    parts = [part for part in call.arguments[0] if part.shape != (0,)]
    axis = call.arguments[1] % call.out.ndim
    if any(vary(labels, axis) for part in parts for labels in call.fields(part)):
        whole = np.concatenate([call.along(part, axis) for part in parts])
        call.give(call.out, (placed(whole, axis, call.out.ndim), *_beside(call, parts, axis)))
    else:
        call.give(call.out, _beside(call, parts, axis))


def _beside(call: Call, parts: list[Tensor], axis: int) -> tuple[Field, ...]:
    """Fields that vary along other dimensions than the one of the concatenation: all parts must agree."""
    fields = []
    for other in range(call.out.ndim):
        if other != axis and any(vary(labels, other) for part in parts for labels in call.fields(part)):
            columns = [call.along(part, other) for part in parts]
            for column in columns[1:]:
                call.tie(columns[0], column)
            fields.append(placed(columns[0], other, call.out.ndim))
    return tuple(fields)


def stack(call: Call) -> None:
    """Operands side by side in a new dimension agree in all others."""
    axis = call.arguments[1] % call.out.ndim
    parts = [_unsqueezed(call, part, axis) for part in call.arguments[0]]
    call.give(call.out, _beside(call, parts, axis))


def _unsqueezed(call: Call, tensor: Tensor, axis: int) -> Tensor:
    seen = tensor.unsqueeze(axis)
    call.give(seen, tuple(np.expand_dims(labels, axis) for labels in call.fields(tensor)))
    return seen


def split(call: Call) -> None:
    """Equal blocks keep equal places, so that they stay equal; unequal ones stay as they are."""
    tensor = call.arguments[0]
    axis = call.arguments[2] % tensor.ndim
    sizes = [out.shape[axis] for out in call.out]
    ends = np.cumsum(sizes).tolist()
    for labels in call.fields(tensor):
        if vary(labels, axis):
            if len(set(sizes)) > 1:
                call.freeze((labels,), f"{call.where} cuts unequal blocks")
            else:
                _tie_blocks(call, labels, axis, sizes[0])
    for out, end, size in zip(call.out, ends, sizes, strict=True):
        call.give(out, tuple(_cut(labels, axis, end - size, end) for labels in call.fields(tensor)))


def cut(call: Call) -> None:
    """`slice`: a block of equal blocks, as `x[:, : n // 2]`; any other cut through channels leaves them as they are."""
    tensor, axis, start, end, step = call.arguments
    axis %= tensor.ndim
    size = tensor.shape[axis]
    start, end, step = slice(start, end, step).indices(size)
    length = end - start
    for labels in call.fields(tensor):
        if vary(labels, axis) and length != size:
            if step == 1 and length > 0 and size % length == 0 and start % length == 0:
                _tie_blocks(call, labels, axis, length)
            else:
                call.freeze((labels,), f"{call.where} takes some channels by number")
    call.give(call.out, tuple(_cut(labels, axis, start, end, step) for labels in call.fields(tensor)))


def _cut(labels: Field, axis: int, start: int, end: int, step: int = 1) -> Field:
    places = tuple(slice(start, end, step) if other == axis else slice(None) for other in range(labels.ndim))
    return labels[places] if vary(labels, axis) else labels


def _tie_blocks(call: Call, labels: Field, axis: int, size: int) -> None:
    blocks = labels.reshape((*labels.shape[:axis], -1, size, *labels.shape[axis + 1 :]))
    call.tie_along(blocks, (axis,))


def unbind(call: Call) -> None:
    """One slice after the other along a dimension: what varies along it goes together."""
    tensor = call.arguments[0]
    axis = call.arguments[1] % tensor.ndim
    for index, out in enumerate(call.out):
        call.give(out, _selected(call, tensor, axis, index))


def select(call: Call) -> None:
    tensor, axis, index = call.arguments[:3]
    call.give(call.out, _selected(call, tensor, axis % tensor.ndim, index))


def _selected(call: Call, tensor: Tensor, axis: int, index: int) -> tuple[Field, ...]:
    fields = []
    for labels in call.fields(tensor):
        call.tie_along(labels, (axis,))
        fields.append(np.take(labels, index if vary(labels, axis) else 0, axis=axis))
    return tuple(fields)


def pad(call: Call) -> None:
    """Padding beside the channels; channels that are padded with zeros stay."""
    tensor, amounts = call.arguments[:2]
    axes = tuple(tensor.ndim - 1 - i for i in range(len(amounts) // 2) if amounts[2 * i] or amounts[2 * i + 1])
    call.give(call.out, call.without(tensor, axes))


def pixel_shuffle(call: Call) -> None:
    """(.., C r r, H, W) to (.., C, H r, W r)."""
    tensor, factor = call.arguments[:2]
    blocks = call.along(tensor, -3).reshape(-1, factor * factor)
    call.tie_along(blocks, (1,))
    call.give(call.out, (placed(blocks[:, 0], -3, tensor.ndim),))


def pixel_unshuffle(call: Call) -> None:
    """(.., C, H r, W r) to (.., C r r, H, W)."""
    tensor, factor = call.arguments[:2]
    call.give(call.out, (placed(np.repeat(call.along(tensor, -3), factor * factor), -3, tensor.ndim),))


def channel_shuffle(call: Call) -> None:
    """Channels dealt out to groups in turn, with equal places in each group."""
    tensor, groups = call.arguments[:2]
    blocks = call.along(tensor, 1).reshape(groups, -1)
    call.tie_along(blocks, (0,))
    call.give(call.out, (placed(blocks.T.reshape(-1), 1, tensor.ndim),))


def lookup(call: Call) -> None:
    """`embedding`: the rows are the vocabulary and stay; the columns are channels."""
    weight, indices = call.arguments[:2]
    call.tie(call.along(weight, 0), np.full(weight.shape[0], FIXED))
    call.give(call.out, (placed(call.along(weight, 1), -1, indices.ndim + 1),))
