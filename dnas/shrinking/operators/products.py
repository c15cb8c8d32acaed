"""Operators that mix channels: convolutions and matrix products."""

from __future__ import annotations

from math import prod

import numpy as np
from torch import Tensor

from dnas.shrinking.book import KERNEL, Call, placed, rest
from dnas.shrinking.channels import Field, Fields, vary
from dnas.shrinking.operators.pointwise import merge


def convolution(call: Call) -> None:
    """Plain, transposed, grouped and depthwise: input columns go with the input's channels, rows are the output's."""
    x, weight, bias, _, _, _, transposed, _, groups = call.arguments
    rows, columns = (1, 0) if transposed else (0, 1)
    kernel = [labels for labels in call.fields(weight) if not (vary(labels, 0) or vary(labels, 1))]
    call.freeze(tuple(kernel), KERNEL)
    if transposed and groups > 1:
        call.freeze((*call.fields(x), *call.fields(weight)), f"{call.where} is transposed and has groups")
    given, row, column = call.along(x, 1), call.along(weight, rows), call.along(weight, columns)
    if groups == 1:
        call.tie(given, column)
        call.consume(column)
    elif weight.shape[columns] == 1:
        # Depthwise: output channels j m .. (j + 1) m belong to input channel j.
        call.tie(given[:, None], row.reshape(groups, -1))
    else:
        # Blocks stay equal, so equal places of all blocks go together.
        call.tie(given.reshape(groups, -1), column)
        call.consume(column)
        call.tie_along(row.reshape(groups, -1), (0,))
    if bias is not None:
        call.tie(call.along(bias, 0), row)
    call.give(call.out, (placed(row, 1, call.out.ndim),))
    space = (x if transposed else call.out).shape[2:]
    fields = call.fields(weight)
    call.count(2 * x.shape[0] * prod(space) * rest(weight, fields), fields)


def _fixed(size: int) -> Field:
    return np.zeros(size, dtype=np.int64)


def addmm(call: Call) -> None:
    """bias + a b"""
    bias, left, right = call.arguments[:3]
    product = contract(call, left, right, call.out.ndim)
    ones = (1,) * (call.out.ndim - bias.ndim)
    bias_fields = tuple(labels.reshape(ones + labels.shape) for labels in call.fields(bias))
    operands = [(tuple(call.out.shape), product), (ones + tuple(bias.shape), bias_fields)]
    call.give(call.out, tuple(merge(call, operands)))


def matmul(call: Call) -> None:
    """a b, of matrices or of batches of matrices"""
    call.give(call.out, contract(call, call.arguments[0], call.arguments[1], call.out.ndim))


def contract(call: Call, left: Tensor, right: Tensor, ndim: int) -> Fields:
    """The fields of (.., m, k) times (.., k, n), with the labels along k tied.

    Where these also vary along the batch (heads), or where neither side is a weight that could be masked, all along k
    go together.
    """
    inner = (_inner(call, left, ndim - 1), _inner(call, right, ndim - 2))
    present = [labels for labels in inner if labels is not None]
    whole = any(vary(labels, axis) for labels in present for axis in range(ndim - 2))
    _tie_inner(call, left, right, inner)
    if whole or (call.is_data(left) and call.is_data(right)):
        for labels in present:
            call.tie_along(labels, (ndim - 2, ndim - 1))
    operands = [
        ((*left.shape[:-1], 1), _outer(call, left, ndim - 1, inner[0] if whole else None)),
        ((*right.shape[:-2], 1, right.shape[-1]), _outer(call, right, ndim - 2, inner[1] if whole else None)),
    ]
    out = tuple(merge(call, operands))
    k = () if whole else tuple(present[:1])
    shape = (*left.shape[:-1], right.shape[-1])
    free = prod(size for axis, size in enumerate(shape) if not any(vary(labels, axis) for labels in out))
    call.count(2 * free * (1 if k else left.shape[-1]), (*out, *k))
    return out


def _inner(call: Call, tensor: Tensor, axis: int) -> Field | None:
    """The field that varies along the dimension that is summed over; tied along the free one."""
    free = 2 * tensor.ndim - 3 - axis
    for labels in call.fields(tensor):
        if vary(labels, axis):
            call.tie_along(labels, (free,))
            return np.take(labels, [0], axis=free)
    return None


def _tie_inner(call: Call, left: Tensor, right: Tensor, inner: tuple[Field | None, Field | None]) -> None:
    """Equal places of both sides go together; a side without labels stays, and so does the other one."""
    a, b = inner
    if a is not None or b is not None:
        call.tie(_fixed(1) if a is None else a, _fixed(1) if b is None else b.swapaxes(-1, -2))
    for tensor, labels in ((left, a), (right, b)):
        if labels is not None and not call.is_data(tensor):
            call.consume(labels)


def _outer(call: Call, tensor: Tensor, axis: int, blocks: Field | None) -> Fields:
    """The fields that do not vary along the dimension that is summed over, and the blocks that were summed up."""
    free = tuple(labels for labels in call.fields(tensor) if not vary(labels, axis))
    return free if blocks is None else (*free, np.take(blocks, [0], axis=axis))
