"""Skip connections: how many a search would keep, and stopping before there are too many."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.architecture import Architecture, CellArchitecture
from dnas.observer.base import EpochReport, Observer, Stop

SKIPS = ("skip_connect", "skip", "identity")


def skip_share(architecture: Architecture) -> float | None:
    """Share of skip connections among all operations that are kept, 0 to 1; None where nothing is an operation.

    Example:
        >>> skip_share(Architecture({"op": "skip_connect", "other": "conv"}))
        0.5
    """
    names = []
    for kept in architecture.decisions.values():
        if isinstance(kept, CellArchitecture):
            names += [edge.operation for edge in kept.edges]
        elif isinstance(kept, str):
            names.append(kept)
    return sum(name in SKIPS for name in names) / len(names) if names else None


@dataclass(frozen=True)
class SkipStop(Observer):
    """Ends the search when a cell would keep too many skip connections (DARTS+, Liang et al. 2019,
    https://arxiv.org/abs/1909.06035, criterion 1; from the paper).

    Args:
        most: number at which the search ends; 2 in the paper.
        cell: which one is looked at; the normal cell in the paper.
    """

    most: int = 2
    cell: str = "normal"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most must be at least 1; got {self.most}.")

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        if report.architecture is None:
            raise ValueError(
                "SkipStop looks at the architecture of every epoch, which this discretization has none of."
            )
        kept = report.architecture.decisions.get(self.cell)
        if not isinstance(kept, CellArchitecture):
            raise ValueError(
                f"SkipStop looks at the cell {self.cell!r}; there is {sorted(report.architecture.decisions)}."
            )
        return Stop() if sum(edge.operation in SKIPS for edge in kept.edges) >= self.most else None
