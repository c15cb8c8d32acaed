"""The global random state of torch: saving it, restoring it, and leaving it to the caller as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def random_state() -> dict[str, Any]:
    """State of the generators of the CPU and of every CUDA device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back the result of `random_state`; devices that are missing now are skipped."""
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available():
        for index, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(device_state.cpu(), index)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block the global generators start from `seed`; afterwards they are as before."""
    before = random_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        restore_random_state(before)


def seeded_items(items: Iterable[T], seed: int) -> Iterator[T]:
    """`items`, computed with separate global generators that start from `seed`.

    A `DataLoader` that shuffles or augments then yields the same items for the same seed, whatever else is drawn
    between two items, and drawing an item does not change the generators that the caller sees.
    """
    with seeded(seed):
        iterator = iter(items)
        own = random_state()
    while True:
        before = random_state()
        restore_random_state(own)
        try:
            item = next(iterator)
        except StopIteration:
            return
        finally:
            own = random_state()
            restore_random_state(before)
        yield item
