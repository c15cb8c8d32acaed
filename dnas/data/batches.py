"""A stream of batches that can be entered at any epoch and any batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from dnas.core.batch import Batch
from dnas.system.errors import UserError


class Batches(ABC):
    """A data set as batches.

    Two calls of `epoch` with the same arguments yield the same batches, and `epoch(e, start=k)` yields those of
    `epoch(e)` without the first k, so that an interrupted run continues as if it had not been interrupted.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Batches per epoch."""

    @abstractmethod
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` (0 to the number of batches) on."""


def check_start(start: int, num_batches: int) -> None:
    """Raise UserError unless `start` is 0 to `num_batches`."""
    if not 0 <= start <= num_batches:
        raise UserError(f"An epoch has {num_batches} batches; it cannot start at batch {start}.")
