"""How far a supernet ranks architectures like a benchmark's table, measured during a search."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dnas.core.architecture import Architecture, CellArchitecture
from dnas.core.decision import Decision
from dnas.core.mixture import Active
from dnas.searching.observer import EpochReport, Observer, Stop
from dnas.system.errors import UserError
from dnas.table.agreement import rank_agreement
from dnas.table.order import NUM_ARCHITECTURES
from dnas.table.table import Table

LOGGED = "kendall_tau"


@dataclass(frozen=True, eq=False)
class RankAgreement(Observer):
    """Logs `kendall_tau`: Kendall's tau-b between the accuracies of random architectures in the supernet, each
    evaluated alone with its weights, and those in the table.

    An architecture takes a pass over the validation images. On a supernet of NAS-Bench-201 with 8 channels and 3 cells
    (one CPU core, 16x16 pixels) that is a tenth of an epoch of first-order search, so 50 of them take about five
    epochs; therefore only the end is measured by default. If all have the same accuracy there is no ranking, and
    nothing is logged in that epoch.

    Args:
        table: table of NAS-Bench-201.
        column: column of the table, such as 'valid200_c10'.
        num: number of different architectures, at least 2.
        seed: seed of their choice; they are the same in all epochs.
        every: epochs between two measurements, in addition to the one after the last epoch; 0 for only that one.
    """

    table: Table
    column: str
    num: int = 50
    seed: int = 0
    every: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.num <= NUM_ARCHITECTURES:
            raise UserError(f"Agreement needs 2 to {NUM_ARCHITECTURES} architectures; got {self.num}.")
        if self.every < 0:
            raise UserError(f"every must be 0 (after the last epoch alone) or more; got {self.every}.")

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        if float(report.progress) == 1.0 or (self.every and report.epoch % self.every == 0):
            order = torch.randperm(NUM_ARCHITECTURES, generator=torch.Generator().manual_seed(self.seed))
            drawn = [self.table.architecture(row) for row in order[: self.num].tolist()]
            accuracies = [report.evaluate(alone(one, report.supernet.decisions)) for one in drawn]
            tau = rank_agreement(drawn, accuracies, table=self.table, column=self.column)
            if not math.isnan(tau):
                report.scalars[LOGGED] = tau
        return None


def alone(architecture: Architecture, decisions: dict[str, Decision]) -> dict[str, Active]:
    """The candidates of one architecture that keeps one operation on every edge of its cells."""
    found: dict[str, Active] = {}
    for name, kept in architecture.decisions.items():
        assert isinstance(kept, CellArchitecture)
        operations = {(edge.source, edge.target): edge.operation for edge in kept.edges}
        decision = decisions[name]
        found[name] = tuple((decision.candidates.index(operations[edge]),) for edge in decision.edges)
    return found
