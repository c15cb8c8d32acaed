"""Ends a search with the alphas of the epoch whose supernet was best."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.searching.observer.base import EpochReport, Observer, Stop
from dnas.searching.supernet_measures import goodness
from dnas.system.accepted import accept


@dataclass(frozen=True)
class BestEpoch(Observer):
    """Takes the alphas of the epoch in which the supernet was best on the validation half, the first of several.

    The official code of OLES (https://github.com/PasaLab/oles/blob/main/train_search.py, `main`) keeps the genotype
    with which the most accurate epoch began; at the first epoch, whose beginning is random, here its end is taken. No
    other recipe does this.

    Args:
        at_its_start: whether the alphas are those with which that epoch began, not those at its end.
    """

    at_its_start: bool = False

    def __post_init__(self) -> None:
        accept(self)

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        measured = {
            name.removeprefix("validation_"): value
            for name, value in report.scalars.items()
            if name.startswith("validation_")
        }
        memory = report.memory
        if measured:
            found = goodness(measured, report.supernet.task)
            if "best" not in memory or found > memory["best"]:
                memory |= {"best": found, "epoch": report.epoch}
        if float(report.progress) < 1 or not memory:
            return None
        return Stop(max(memory["epoch"] - 1, 1) if self.at_its_start else memory["epoch"])
