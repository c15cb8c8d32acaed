"""Which channels must stay or go together: labels in sets that only grow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Labels of the channels of one tensor: an array that broadcasts to the tensor's shape, with size 1 along the dimensions
# where the label does not change. An element of the tensor goes with its label. A tensor may have several fields, as
# a weight has its rows' and its columns', which never vary along the same dimension.
Field = np.ndarray
Fields = tuple[Field, ...]

# The label of what can never go.
FIXED = 0


class Channels:
    """Sets of labels that go together (union-find), some of which are frozen for a reason that is kept."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self._reasons: dict[int, str] = {}

    def new(self, count: int) -> Field:
        """`count` labels that are tied to nothing, shape (count,)."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def tie(self, left: Field, right: Field, reason: str) -> None:
        """Labels in the same place of both arrays (which broadcast) go together; beside a fixed one they are frozen."""
        pairs = np.stack([array.reshape(-1) for array in np.broadcast_arrays(left, right)], axis=1)
        for a, b in np.unique(pairs, axis=0).tolist():
            if a == FIXED or b == FIXED:
                self._freeze(max(a, b), reason)
            else:
                self._join(self.root(a), self.root(b))

    def tie_along(self, field: Field, axes: tuple[int, ...], reason: str) -> None:
        """Labels that differ only in their place along these dimensions go together."""
        if any(field.shape[axis] > 1 for axis in axes):
            first = field[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(field.ndim))]
            self.tie(field, first, reason)

    def freeze(self, field: Field, reason: str) -> None:
        """None of these labels may go. The first reason stays."""
        for label in np.unique(field).tolist():
            self._freeze(label, reason)

    def root(self, label: int) -> int:
        """The label that stands for its set."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, field: Field) -> Field:
        """For every label the one that stands for its set; `FIXED` where it is frozen."""
        labels, places = np.unique(field, return_inverse=True)
        found = [self.root(label) for label in labels.tolist()]
        standing = np.array([FIXED if root in self._reasons else root for root in found], dtype=np.int64)
        return standing[places].reshape(field.shape)

    def reasons(self, field: Field) -> Iterator[str]:
        """Why labels of this field are frozen, each reason once."""
        found = (self._reasons.get(self.root(label)) for label in np.unique(field).tolist())
        yield from dict.fromkeys(reason for reason in found if reason is not None)

    def _freeze(self, label: int, reason: str) -> None:
        if label != FIXED:
            self._reasons.setdefault(self.root(label), reason)

    def _join(self, left: int, right: int) -> None:
        if left == right:
            return
        left, right = min(left, right), max(left, right)
        self._parent[right] = left
        reason = self._reasons.pop(right, None)
        if reason is not None:
            self._reasons.setdefault(left, reason)


def vary(field: Field, axis: int) -> bool:
    """Whether the labels change along a dimension."""
    return field.shape[axis] > 1


def compress(field: Field) -> Field:
    """The field with size 1 along the dimensions where it does not change."""
    for axis in range(field.ndim):
        if field.shape[axis] > 1:
            first = np.take(field, [0], axis=axis)
            if (field == first).all():
                field = first
    return field


def overlap(left: Field, right: Field) -> bool:
    """Whether two fields of one tensor vary along a common dimension."""
    return any(a > 1 and b > 1 for a, b in zip(left.shape, right.shape, strict=True))
