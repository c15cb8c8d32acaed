"""What one run of a model tells about its channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from dnas.shrinking.channels import FIXED, Channels, Field, Fields, vary

# Why height and width of a convolution's kernel stay; they are no channels.
KERNEL = "it is the size of a kernel"


@dataclass(frozen=True)
class Term:
    """A product of numbers of channels: `scale` times, for every factor, how many of its labels stay.

    `module` is where the product is computed.
    """

    scale: int
    factors: Fields
    module: str = ""


@dataclass(frozen=True)
class Size:
    """A number that a module keeps and that counts channels: as many as labels stay along an axis of `labels`.

    Without a name it is any integer of the module that equals the number of labels.
    """

    module: str
    labels: Field
    axis: int
    attribute: str | None = None


@dataclass
class Book:
    """Labels of tensors, and what operators said about them.

    Args:
        channels: which labels go together.
        fields: labels of each tensor that has some.
        data: tensors that depend on the model's inputs.
        consumers: labels of input columns, where masking a channel is removing it.
        splits: fields of reshaped tensors; only one factor of a dimension may change.
        flops: FLOPs of the operators that count.
        sizes: integers of modules that change.
    """

    channels: Channels = field(default_factory=Channels)
    fields: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)
    data: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)
    consumers: list[Field] = field(default_factory=list)
    splits: list[Field] = field(default_factory=list)
    flops: list[Term] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)

    def of(self, tensor: Tensor) -> Fields:
        """The labels of a tensor; none where nothing is known about it."""
        return self.fields[tensor] if tensor in self.fields else ()  # noqa: SIM401 (its `get` may answer None)


@dataclass
class Call:
    """One call of an operator while a model runs, with the labels of its tensors.

    Args:
        book: what is known so far.
        name: the operator, such as 'convolution'.
        module: name of the innermost module that runs.
        kind: that module's class.
        arguments: positional arguments of the operator.
        out: what the operator returned.
    """

    book: Book
    name: str
    module: str
    kind: type
    arguments: tuple[Any, ...]
    out: Any

    @property
    def where(self) -> str:
        return f"{self.name} in {self.module or 'the model itself'}"

    def fields(self, tensor: Any) -> Fields:
        return self.book.of(tensor) if isinstance(tensor, Tensor) else ()

    def is_data(self, tensor: Tensor) -> bool:
        return tensor in self.book.data

    def give(self, tensor: Tensor, fields: Fields) -> None:
        """The labels of a tensor that the operator returned; a field that nowhere varies says nothing."""
        for labels in fields:
            assert labels.ndim == tensor.ndim, f"{self.where}: labels {labels.shape} for {tuple(tensor.shape)}"
        self.book.fields[tensor] = tuple(labels for labels in fields if labels.size > 1)

    def freeze(self, fields: Fields, reason: str) -> None:
        for labels in fields:
            self.book.channels.freeze(labels, reason)

    def tie(self, left: Field, right: Field) -> None:
        self.book.channels.tie(left, right, f"{self.where} ties it to what stays, such as the inputs")

    def tie_along(self, labels: Field, axes: tuple[int, ...]) -> None:
        self.book.channels.tie_along(labels, axes, self.where)

    def along(self, tensor: Any, axis: int) -> Field:
        """The labels along one dimension, shape (size,); `FIXED` where there are none.

        Labels that also vary along other dimensions are tied along these.
        """
        for labels in self.fields(tensor):
            if vary(labels, axis % tensor.ndim):
                others = tuple(other for other in range(tensor.ndim) if other != axis % tensor.ndim)
                self.tie_along(labels, others)
                return labels[tuple(0 if other in others else slice(None) for other in range(tensor.ndim))]
        return np.full(tensor.shape[axis], FIXED, dtype=np.int64)

    def without(self, tensor: Any, axes: tuple[int, ...]) -> Fields:
        """The fields that vary along none of these dimensions; the others are frozen."""
        kept = []
        for labels in self.fields(tensor):
            if any(vary(labels, axis % tensor.ndim) for axis in axes):
                self.freeze((labels,), f"{self.where} goes across its channels")
            else:
                kept.append(labels)
        return tuple(kept)

    def consume(self, labels: Field) -> None:
        self.book.consumers.append(labels)

    def count(self, scale: int, factors: Fields) -> None:
        self.book.flops.append(Term(scale, factors, self.module))

    def size(self, labels: Field, axis: int, attribute: str | None = None) -> None:
        self.book.sizes.append(Size(self.module, labels, axis, attribute))


def placed(labels: Field, axis: int, ndim: int) -> Field:
    """Labels of one dimension as a field of a tensor with `ndim` dimensions."""
    return labels.reshape([labels.size if other == axis % ndim else 1 for other in range(ndim)])


def rest(tensor: Tensor, fields: Fields) -> int:
    """The product of the sizes of the dimensions along which no field varies."""
    return prod(size for axis, size in enumerate(tensor.shape) if not any(vary(labels, axis) for labels in fields))
