"""The data of a search as batches whose order depends only on a seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from dnas.core.batch import Batch
from dnas.data.batches import Batches
from dnas.data.iterable_batches import IterableBatches
from dnas.data.keyed_random import stream_key
from dnas.system.errors import UserError
from dnas.system.random_state import seeded_items

Data = Batches | Iterable[Any]


def seeded_batches(name: str, data: Data, *, device: torch.device, seed: int) -> Batches:
    """Return batches as they are, and give a user's loader a seed of its own.

    Args:
        name: name of the data in messages.
        data: batches, or a loader or list of pairs (inputs, targets).
        device: device for the loader's batches.
        seed: seed for the loader's random numbers.

    Raises:
        UserError: the data hold no batch.
    """
    batches = data if isinstance(data, Batches) else _SeededBatches(IterableBatches(data, device=device), seed)
    if len(batches) < 1:
        raise UserError(f"There is nothing to search with: {name} holds no batch.")
    return batches


def first_of_own(batches: Batches) -> Batch | None:
    """The first batch of a user's own loader; None for batches of dnas, which are made alike."""
    return next(iter(batches.epoch(0))) if isinstance(batches, _SeededBatches) else None


@dataclass(frozen=True)
class _SeededBatches(Batches):
    """A user's loader whose epochs depend only on a seed, so that a search can resume in the middle of one."""

    batches: Batches
    seed: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return seeded_items(self.batches.epoch(epoch, start), stream_key(self.seed, epoch))
