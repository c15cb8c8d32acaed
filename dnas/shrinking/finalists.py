"""Candidates for the smaller network are fine-tuned for a short time, and the best one is taken."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.data.batches import Batches
from dnas.finalists.contest import Conditions
from dnas.finalists.halving import successive_halving
from dnas.finalists.outcome import Outcome
from dnas.finalists.pieces import Pieces
from dnas.shrinking.budget import WidthLimits
from dnas.shrinking.first_batches import for_statistics
from dnas.shrinking.proposals import WidthProposals, values_of
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.settings import ShrinkSettings
from dnas.shrinking.statistics import reestimate
from dnas.system.display import Display
from dnas.task.base import Task


def best_of_finalists(
    searchable: Narrowable,
    limits: WidthLimits,
    decided: Sequence[Mapping[str, int]],
    ranking: Mapping[str, Sequence[int]],
    *,
    fits: Callable[[Mapping[str, int]], bool],
    train: Batches,
    held_out: Batches,
    task: Task,
    settings: ShrinkSettings,
    run: Run | None,
    display: Display,
) -> tuple[dict[str, int], float]:
    """The values of the best finalist by successive halving, and the seconds that it took.

    Finalists start as all networks of the comparison do: cut from the model by the same importance, batch norm measured
    anew, and they learn from the model as well. The loss judges them, since it tells more than top-1 does, and the best
    is taken and not the cheapest, since all of them keep the budget.

    Args:
        searchable: the trained model.
        limits: of the budget.
        decided: the values of the integer program, and those that it gives for looser budgets.
        ranking: of each group's classes, the most important first.
        fits: whether values keep a limit in milliseconds as measured.
        train: batches for the short trainings.
        held_out: batches that judge them.
        task: criterion and metrics.
        settings: number and length (`finalists`, `finalist_pieces`).
        run: folder of the shrinking; the finalists are in its folder `finalists`.
        display: where progress is shown.

    Raises:
        UserError, Interrupted: as `successive_halving`.
    """

    def build(architecture: Architecture) -> nn.Module:
        network = searchable.derive(searchable.selection(values_of(architecture), ranking))
        reestimate(network, for_statistics(train, settings))
        return network

    conditions = Conditions(
        build=build,
        fresh=lambda architecture: searchable.derive(searchable.selection(values_of(architecture), ranking)),
        train=Pieces(train, settings.finalist_pieces),
        judging=held_out,
        task=task,
        settings=replace(settings.finalists, seed=settings.finalists.seed + settings.seed),
        by_loss=True,
        teacher=searchable.model if settings.distill else None,
        distillation=settings.fine_tuning.distillation,
    )
    proposals = WidthProposals(searchable, limits.program, limits.bounds, decided, fits, conditions.settings.seed)
    outcome = _contest(proposals, conditions, run, display)
    display.say(str(outcome))
    return values_of(outcome.winner.architecture), outcome.seconds


def _contest(proposals: WidthProposals, conditions: Conditions, run: Run | None, display: Display) -> Outcome:
    """The contest, in a folder that is thrown away where there is none."""
    if run is not None:
        return successive_halving(proposals, conditions, run=run, display=display)
    with tempfile.TemporaryDirectory() as folder:
        return successive_halving(proposals, conditions, run=Run(Path(folder)), display=display)
