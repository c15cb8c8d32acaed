"""How many CPU threads PyTorch uses, and how many are useful."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from dnas.system.peak import measured_seconds

# Fewer threads are chosen if that makes a step longer by less than this.
TOLERANCE = 1.05
# If several threads are this much slower than one, they disturb each other or another program.
HINDERED = 1.2


@contextmanager
def num_threads(count: int | None) -> Iterator[None]:
    """Within the block PyTorch uses `count` CPU threads; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fewest_threads(step_seconds: Callable[[], float], *, most: int) -> int:
    """The smallest number of threads, from `most` halved repeatedly, with which a step takes hardly longer.

    Small operations gain little from threads, and each of them waits for the slowest: on two busy cores, a search of
    small images took 3 times as long with two threads as with one, at worst 200 times.

    Args:
        step_seconds: measures a step with PyTorch's current number of threads.
        most: number of threads to begin with.
    """
    count, best = most, _with(most, step_seconds)
    while count > 1:
        taken = _with(count // 2, step_seconds)
        if taken > TOLERANCE * best:
            break
        count, best = count // 2, min(best, taken)
    return count


def threads_that_help() -> int:
    """All of PyTorch's threads; 1 if together they are slower than one on operations as small as those of a cell."""
    most = torch.get_num_threads()
    if most == 1 or _with(most, _seconds_of_small_operations) <= HINDERED * _with(1, _seconds_of_small_operations):
        return most
    return 1


def _seconds_of_small_operations() -> float:
    """Median time of a few small operations, on images of 16 pixels and channels."""
    x = torch.randn(32, 16, 16, 16).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(16, 16, 1, 1)

    def work() -> None:
        y = x
        for _ in range(20):
            y = F.batch_norm(F.conv2d(F.relu(y), weight), None, None, training=True)

    with torch.no_grad():
        return sorted(measured_seconds(work, torch.device("cpu")) for _ in range(5))[2]


def _with(count: int, measure: Callable[[], float]) -> float:
    with num_threads(count):
        return measure()
