"""A stream of batches from a later epoch on, for a training that goes on with what another one has trained."""

from __future__ import annotations

from collections.abc import Iterator

from dnas.core.batch import Batch
from dnas.data.batches import Batches


class LaterEpochs(Batches):
    """Batches whose epoch e is epoch `first` + e of others.

    Args:
        batches: the others.
        first: number of epochs that are left out.
    """

    def __init__(self, batches: Batches, first: int) -> None:
        self._batches = batches
        self._first = first

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return self._batches.epoch(self._first + epoch, start)
