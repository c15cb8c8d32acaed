"""Batches in shorter epochs, for trainings that are meant to be shorter than an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dnas.core.batch import Batch
from dnas.data.batches import Batches


class Pieces(Batches):
    """Batches whose epochs are the equal pieces of the epochs of others, one after the other.

    What an epoch has beyond `pieces` equal parts is left out.

    Args:
        batches: the others.
        pieces: of one of their epochs; at most as many as it has batches are made.
    """

    def __init__(self, batches: Batches, pieces: int) -> None:
        self._batches = batches
        self._pieces = min(pieces, len(batches))

    def __len__(self) -> int:
        return len(self._batches) // self._pieces

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        whole, place = divmod(epoch, self._pieces)
        return islice(self._batches.epoch(whole, place * len(self) + start), len(self) - start)
