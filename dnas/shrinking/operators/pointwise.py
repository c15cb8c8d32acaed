"""Operators that work on each element: channels in the same place go together."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dnas.core.batch import tensors_in
from dnas.shrinking.book import Call
from dnas.shrinking.channels import FIXED, Field, Fields, overlap


def pointwise(call: Call) -> None:
    """Operands with labels are tied where both vary; one that does not vary there (a gate) ties nothing."""
    operands = [*dict.fromkeys(tensors_in(call.arguments))]
    merged: list[Field] = []
    for out in tensors_in(call.out):
        shape = tuple(out.shape)
        aligned = [(_aligned(tensor, fields=call.fields(tensor), ndim=len(shape))) for tensor in operands]
        merged = merge(call, aligned)
        call.give(out, tuple(merged))


def merge(call: Call, operands: list[tuple[tuple[int, ...], Fields]]) -> list[Field]:
    """The fields of an elementwise combination of operands, each given as (shape, fields), all of one `ndim`."""
    merged: list[Field] = []
    for _, fields in operands:
        for labels in fields:
            touching = [other for other in merged if overlap(labels, other)]
            for other in touching:
                call.tie(labels, other)
            merged = [other for other in merged if not any(other is one for one in touching)]
            merged.append(_broadcast([labels, *touching]))
    for labels in merged:
        for shape, fields in operands:
            _tie_to_operand(call, labels, shape, fields)
    return merged


def _tie_to_operand(call: Call, labels: Field, shape: tuple[int, ...], fields: Fields) -> None:
    """An operand that has a size where the labels vary, but no labels there, stays; so do they."""
    for axis, size in enumerate(labels.shape):
        if size > 1 and shape[axis] > 1 and not any(field.shape[axis] > 1 for field in fields):
            call.tie(labels, np.full((1,) * labels.ndim, FIXED, dtype=np.int64))


def _broadcast(fields: list[Field]) -> Field:
    shape = np.broadcast_shapes(*(labels.shape for labels in fields))
    return np.broadcast_to(fields[0], shape)


def _aligned(tensor: Tensor, fields: Fields, ndim: int) -> tuple[tuple[int, ...], Fields]:
    """Shape and fields with dimensions of size 1 put in front."""
    ones = (1,) * (ndim - tensor.ndim)
    return ones + tuple(tensor.shape), tuple(labels.reshape(ones + labels.shape) for labels in fields)


def same(call: Call) -> None:
    """The result has the labels of the first argument, and no known values: `zeros_like`."""
    for out in tensors_in(call.out):
        call.give(out, call.fields(call.arguments[0]))


def nothing(call: Call) -> None:
    """The result has no labels, and those of the arguments are not touched: `new_zeros`."""


def unknown(call: Call) -> None:
    """An operator that no rule knows leaves its inputs as they are."""
    for tensor in tensors_in(call.arguments):
        call.freeze(call.fields(tensor), f"{call.where} is not known")
