"""How much compute something took: CPU seconds of the process, or seconds of a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def compute_clock(device: torch.device) -> Callable[[], float]:
    """A clock of compute in seconds, whose zero means nothing.

    On a CPU it counts the seconds of all threads of the process, so other work on the machine does not matter, and
    with one thread they are comparable. On another device it counts the time until the device has done its work.
    """
    if device.type == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock
