"""Showing a person the progress of long work."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from dnas.system.words import printable, readable_time


class Display(ABC):
    """Receives every step of long work."""

    @abstractmethod
    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        """`done` of `total` steps of a phase (such as 'search') are finished; `scalars` are the latest numbers."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Print a line above the progress bars."""

    def status(self, text: str) -> None:  # noqa: B027, displays without such a line have nothing to do here
        """Show a line below the progress bars, in place of the one before."""


class Silent(Display):
    """Shows nothing."""

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...


class TerminalLine(Display):
    """One line that is written over while work goes on, where errors go to a terminal; elsewhere it shows nothing.

    It needs no package, and nothing has to be closed.
    """

    def __init__(self) -> None:
        self._phase, self._first, self._last = "", 0, 0
        self._began = 0.0
        self._is_open = False

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if not sys.stderr.isatty():
            return
        if phase != self._phase or done <= self._last:
            self._phase, self._first, self._began = phase, done, time.monotonic()
        self._last = done
        left = (time.monotonic() - self._began) * (total - done) / max(done - self._first, 1)
        text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        # \r goes to the start of the line, and \x1b[K clears the rest of what stood there.
        sys.stderr.write(f"\r{phase} {done}/{total}  {readable_time(left)} left  {text}\x1b[K")
        self._is_open = done < total
        sys.stderr.write("" if self._is_open else "\n")
        sys.stderr.flush()

    def say(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(("\n" if self._is_open else "") + printable(text) + "\n")
            self._is_open = False


TERMINAL = TerminalLine()  # the default of public functions


class PartOfBar(Display):
    """Shows one phase of one of several runs as a part of a bar for all of them.

    Args:
        display: where the bar is.
        phase: the phase of the run that moves the bar; other phases are not shown.
        unit: what a run is called beside the bar, such as 'network'.
        part: index of the run.
        num: number of runs.
        shown_as: the phase that the bar belongs to; the same phase if empty.
    """

    def __init__(self, display: Display, phase: str, *, unit: str, part: int, num: int, shown_as: str = "") -> None:
        self.display = display
        self.phase = phase
        self.shown_as = shown_as or phase
        self.unit = unit
        self.part = part
        self.num = num

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if phase == self.phase:
            done, total = self.part * total + done, self.num * total
            self.display.update(self.shown_as, done, total, {self.unit: self.part, **scalars})

    def say(self, text: str) -> None:
        self.display.say(text)

    def status(self, text: str) -> None:
        """Show a line below the bar, with the run's number."""
        self.display.status(f"[{self.part + 1}/{self.num}] {text}")

    def finished(self, text: str) -> None:
        """Print what the run found, with its number."""
        self.say(f"[{self.part + 1}/{self.num}] {text}")


class RichDisplay(Display):
    """Progress bars with remaining time in a terminal, and a line now and then if output goes to a file.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.text import Text

        self.console = Console(highlight=False, emoji=False)  # mymodel:One is no picture
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scalars]}"),
            console=self.console,
        )
        self._status = Text(no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._progress, self._status), console=self.console, refresh_per_second=4)
        self._tasks: dict[str, Any] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        text = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=total, completed=done, scalars=text)
        self._progress.update(self._tasks[phase], completed=done, total=total, scalars=text)
        if not self.console.is_terminal:
            self._line_per_tenth(phase, done, total, text)

    def _line_per_tenth(self, phase: str, done: int, total: int, text: str) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > self._tenths.get(phase, -1):
            self._tenths[phase] = tenth
            self.console.print(f"{phase}: {done}/{total}  {text}", soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(printable(text), markup=False, soft_wrap=True)

    def status(self, text: str) -> None:
        self._status.plain = printable(text)
