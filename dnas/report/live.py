"""What a person sees while a search runs: the architecture of the moment, and a warning when it collapses."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from dnas.core.architecture import Architecture, CellArchitecture
from dnas.core.run import Run
from dnas.report.diagnosis import COLLAPSED
from dnas.report.draw import converted
from dnas.searching.observer import EpochReport, Observer, skip_share
from dnas.system.display import Display
from dnas.system.errors import MissingPackage, UserError

_MOST_WORDS = 110  # characters of the line


@dataclass(frozen=True)
class ShowArchitecture(Observer):
    """Shows the architecture after each epoch in a line, and as a picture in TensorBoard where CairoSVG is installed.

    Args:
        display: where the line is shown.
        run: folder of the search, for TensorBoard.
        epochs: number of epochs of the search.
    """

    display: Display
    run: Run
    epochs: int

    def epoch_ended(self, report: EpochReport) -> None:
        architecture = report.architecture
        if architecture is None:
            return
        self.display.status(f"epoch {report.epoch} of {self.epochs}  {in_one_line(architecture)}")
        share = skip_share(architecture)
        if share is not None and share > COLLAPSED and report.val_batch is not None and "warned" not in report.memory:
            report.memory["warned"] = True
            self.display.say(
                f"Warning: {share:.0%} of the kept operations are skip connections after epoch {report.epoch}; the "
                "search may be collapsing (docs/choose.md says what helps)."
            )
        digest = hashlib.sha256(architecture.to_json().encode()).hexdigest()
        if report.memory.get("drawn") != digest:
            report.memory["drawn"] = digest
            self._draw(architecture, report.step)

    def _draw(self, architecture: Architecture, step: int) -> None:
        try:
            picture = converted(architecture.to_svg(), ".png")
        except (MissingPackage, UserError):  # without CairoSVG, or of a cell that is too large, there is no picture
            return
        self.run.log_picture(step, "architecture", picture)


def in_one_line(architecture: Architecture) -> str:
    """How often each operation is kept, by cell; of other decisions all together.

    Example:
        >>> in_one_line(Architecture({"a": "conv", "b": "pool", "c": "conv"}))
        'conv x2, pool'
    """
    parts, others = [], Counter[str]()
    for name, kept in architecture.decisions.items():
        if isinstance(kept, CellArchitecture):
            parts.append(f"{name}: {_counted(Counter(edge.operation for edge in kept.edges))}")
        else:
            others.update((kept,) if isinstance(kept, str) else kept)
    line = "; ".join([*parts, *([_counted(others)] if others else [])])
    return line if len(line) <= _MOST_WORDS else f"{line[: _MOST_WORDS - 3]}..."


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{name} x{count}" if count > 1 else name for name, count in names.most_common())
