"""Skip connections: how many a search would keep, and stopping before there are too many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnas.core.architecture import Architecture, CellArchitecture
from dnas.core.decision import Decision
from dnas.searching.observer.base import EpochReport, Observer, Stop
from dnas.system.accepted import accept
from dnas.system.errors import UserError

SKIPS = ("skip_connect", "skip", "identity")


def skip_share(architecture: Architecture) -> float | None:
    """Share of skip connections among all kept operations, 0 to 1; None if no operation is kept.

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

    most: number of skip connections at which the search ends; 2 in the paper.
    cell: name of the cell that is looked at; the normal cell in the paper.
        cell: which one is looked at; the normal cell in the paper.
    """

    most: int = 2
    cell: str = "normal"

    def __post_init__(self) -> None:
        accept(self)
        if self.most < 1:
            raise UserError(f"most must be at least 1; got {self.most}.")

    def check(self, decisions: Mapping[str, Decision]) -> None:
        """Check that these decisions include the cell, and that it can keep so many skip connections.

        Raises:
            UserError: says which cells there are, and what to set.
        """
        cells = {name: decision for name, decision in decisions.items() if decision.kind == "operations"}
        if self.cell not in cells:
            instead = (
                f"its cells are {list(cells)}: set cell to one of them" if cells else "it has no cells: leave it out"
            )
            raise UserError(f"SkipStop looks at the cell {self.cell!r}, which this model does not have; {instead}.")
        most = _most_skips(cells[self.cell])
        if most < self.most:
            raise UserError(
                f"SkipStop waits for {self.most} skip connections in the cell {self.cell!r}, which can keep {most}: "
                f"{'lower most, or leave it out' if most else 'leave it out'}."
            )

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        if report.architecture is None:
            raise UserError("SkipStop looks at the architecture of every epoch, which this discretization has none of.")
        kept = report.architecture.decisions[self.cell]
        assert isinstance(kept, CellArchitecture)
        return Stop() if sum(edge.operation in SKIPS for edge in kept.edges) >= self.most else None


def _most_skips(cell: Decision) -> int:
    """The largest number of skip connections that an architecture can keep in a cell."""
    offer = [any(name in SKIPS and name not in cell.excluded for name in cell.names(e)) for e in range(cell.num_rows)]
    offered = [sum(offer[edge] for edge in cell.incoming(node)) for node in cell.nodes]
    return sum(number if cell.num_kept is None else min(number, cell.num_kept) for number in offered)
