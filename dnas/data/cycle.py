"""Endless batches, epoch after epoch."""

from __future__ import annotations

from collections.abc import Iterator

from dnas.core.batch import Batch
from dnas.data.batches import Batches
from dnas.system.errors import UserError


class Cycle(Iterator[Batch]):
    """Batches numbered by step, without end: after an epoch the next one begins, with its own shuffle.

    A bilevel search draws from two streams of unequal length, which cycle independently. The batch of a step
    depends only on the step, so a run resumes by asking for the step it stopped at.

    Example:
        >>> train = Cycle(train_batches)
        >>> train.batch(0)      # the first batch of epoch 0
        >>> next(train)         # the second

    Args:
        batches: the batches of an epoch, at least one.
        step: the step that `next` begins with.
    """

    def __init__(self, batches: Batches, *, step: int = 0) -> None:
        self.batches = batches
        self.step = step
        self._opened_step = -1  # the step whose batch `_opened` yields next
        self._opened: Iterator[Batch] = iter(())

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0; consecutive steps cost nothing extra.

        Raises:
            UserError: the step is negative.
        """
        if step < 0:
            raise UserError(f"Steps count from 0; got {step}.")
        if step != self._opened_step or step % len(self.batches) == 0:
            epoch, start = divmod(step, len(self.batches))
            self._opened = self.batches.epoch(epoch, start)
        self._opened_step = -1  # if drawing the batch fails, the next call starts afresh
        batch = next(self._opened)
        self._opened_step = self.step = step + 1
        return batch

    def seek(self, step: int) -> None:
        """Let `next` continue with the batch of `step`."""
        self.step = step

    def __next__(self) -> Batch:
        return self.batch(self.step)
