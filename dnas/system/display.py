"""Showing a person the progress of long work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self


class Display(ABC):
    """Receives every step of long work."""

    @abstractmethod
    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        """`done` of `total` steps of a phase (such as 'search') are finished; `scalars` are the latest numbers."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Print a line above the progress bars."""


class Silent(Display):
    """Shows nothing."""

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...


class RichDisplay(Display):
    """Progress bars with remaining time in a terminal, and a line now and then if output goes to a file.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scalars]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

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
        self.console.print(text, markup=False, soft_wrap=True)
