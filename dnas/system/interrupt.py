"""Ctrl-C as a request that a loop answers between two steps, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """A run was asked to stop and has saved its state."""


class StopRequest:
    """Whether somebody has asked the loop to stop."""

    def __init__(self) -> None:
        self.made = False

    def _make(self, signum: int, frame: FrameType | None) -> None:
        if self.made:  # asked twice: the user does not want to wait for the step
            raise KeyboardInterrupt
        self.made = True


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within the block, Ctrl-C and SIGTERM set `made` instead of raising; a second one raises.

    Outside the main thread, where Python cannot handle signals, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request._make) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: set by a program that embeds Python; Python cannot restore it
                signal.signal(number, handler)
