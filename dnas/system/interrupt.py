"""Ctrl-C and the like as a request that a loop answers between two steps, so that nothing is left half done."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C, what `kill` and schedulers send, and what a terminal sends that is closed (not known to Windows).
STOPS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


_heard = int(signal.SIGINT)  # the signal that came last since a block of `handled` began


def exit_status() -> int:
    """The exit status of a stopped command, as shells have it: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."""
    return 128 + _heard


class Interrupted(Exception):
    """A run was asked to stop and has saved its state."""


class StopRequest:
    """Whether somebody has asked the loop to stop."""

    def __init__(self) -> None:
        self.made = False

    def _make(self) -> None:
        if self.made:  # asked twice: the user does not want to wait for the step
            raise KeyboardInterrupt
        self.made = True


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within the block, Ctrl-C, SIGTERM and SIGHUP set `made` instead of raising; a second one raises.

    Outside the main thread, where Python cannot handle signals, nothing changes.
    """
    request = StopRequest()
    with handled(request._make):
        yield request


@contextmanager
def handled(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, `stop` is called when Ctrl-C, SIGTERM or SIGHUP comes; afterwards they do what they did before.

    SIGHUP stays ignored where it is, as `nohup` asks for. Outside the main thread nothing changes.
    """

    global _heard
    _heard = int(signal.SIGINT)

    def heard(signum: int, frame: FrameType | None) -> None:
        global _heard
        _heard = signum
        _let_go_of_closed_terminal()
        stop()

    before = {}
    if threading.current_thread() is threading.main_thread():
        ignored = STOPS[2:] and signal.getsignal(STOPS[2]) is signal.SIG_IGN
        before = {number: signal.signal(number, heard) for number in (STOPS[:2] if ignored else STOPS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: set by a program that embeds Python; Python cannot restore it
                signal.signal(number, handler)


def _let_go_of_closed_terminal() -> None:
    """Let what is written to a terminal that was closed go nowhere, instead of raising while a checkpoint is due."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        descriptor = stream.fileno()
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
