"""A search of a user's own model whose result is the best of several finalists: one public function."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.derive import derive
from dnas.core.run import Run, writing
from dnas.cost.drawing import BandDraws
from dnas.data.keyed_random import stream_key
from dnas.distributed.environment import launched
from dnas.finalists.contest import Conditions
from dnas.finalists.halving import successive_halving
from dnas.finalists.of_search import known_of, with_finalist
from dnas.finalists.proposals import Possible, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.finalists.settings import FinalistSettings
from dnas.searching.own_bounds import bounds_on, derived
from dnas.searching.result import SearchResult
from dnas.searching.search import search
from dnas.searching.seeded_batches import Data, seeded_batches
from dnas.searching.settings import SearchSettings
from dnas.system.accepted import accepted
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.choose import chosen_task
from dnas.task.classification import Classification
from dnas.task.own import Criterion
from dnas.training.evaluate import device_of
from dnas.training.own_baseline import random_architecture


def search_with_finalists(
    model: nn.Module,
    train: Data,
    val: Data,
    *,
    run: Run | Path | str,
    finalists: FinalistSettings = FinalistSettings(num=8),
    settings: SearchSettings = SearchSettings(),
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    display: Display = TERMINAL,
) -> SearchResult:
    """Search, train several candidates for the result briefly, and take the best one (docs/finalists.md).

    Finalists start from the weights that the model came with, are trained on `train` and judged on `val`. A call that
    was stopped or killed goes on when it is repeated; on the CPU the results are bit-identical.

    Args:
        model: a module with choices inside.
        train: batches for the weights, of the search and of the finalists.
        val: batches for the alphas, by which finalists are judged too: their figures are selected, so optimistic.
        run: folder of the search; its finalists are in RUN/finalists, and result.txt there has their table.
        finalists: their number, rungs and training; without channels, cells and `alone`, since the model has its own
            sizes and is searched.
        settings, task, criterion, display: as for `dnas.search`.

    Returns:
        The result of the search, whose architecture is the winner's.

    Raises:
        UserError: as `dnas.search`; or settings of the finalists have no effect here, there are stages or several
            processes, or the folder holds finalists of other settings.
        NonFiniteLoss, Interrupted: as `dnas.search`.

    Example:
        >>> search_with_finalists(Net(), train, val, run="runs/mine", task=task)  # doctest: +SKIP
    """
    finalists, run = accepted(finalists, FinalistSettings, "finalists"), run if isinstance(run, Run) else Run(run)
    _check(finalists)
    own_task = chosen_task(task, criterion, Classification())
    result = search(
        model,
        train,
        val,
        task=task,
        criterion=criterion,
        settings=settings,
        run=run,
        display=display,
        is_final=False,
    )
    assert result.start is not None
    fresh = result.start.of(result.supernet.model)
    source = result.supernet.model if finalists.begin_with == "searched" else fresh
    streams = {"train": train, "val": val}
    trained_on, judged_on = (
        seeded_batches(name, data, device=device_of(fresh), seed=stream_key(finalists.seed, stream))
        for stream, (name, data) in enumerate(streams.items())
    )
    conditions = Conditions(partial(derive, source), partial(derive, fresh), trained_on, judged_on, own_task, finalists)
    possible = _possible(fresh, settings, conditions)
    proposals = Proposals(possible, known_of(run, result, settings.relaxation), finalists.seed)
    with writing(run, display.say):
        outcome = successive_halving(proposals, conditions, run=run, display=display)
        display.say(str(outcome))
        return with_finalist(run, result, outcome)


def _check(finalists: FinalistSettings) -> None:
    if not finalists.num:
        raise UserError("Without finalists this is dnas.search: give num, such as dnas.FinalistSettings(num=8).")
    for name in ("channels", "cells", "alone"):
        if getattr(finalists, name):
            raise UserError(
                f"{name} of the finalists has no effect on a model of your own that is searched: leave it out."
            )
    if launched() is not None:
        raise UserError("Finalists are trained by one process: call this without torchrun or srun.")


def _possible(fresh: nn.Module, settings: SearchSettings, conditions: Conditions) -> Possible:
    """The architectures of a model, within the budget of its search."""
    delivered = derived(fresh, conditions.batch)
    bounds = None if settings.budget is None else bounds_on(delivered, settings.budget, settings.discretization)
    draws = None if bounds is None or all(one.changes_nothing for one in bounds.ranges) else BandDraws(bounds)
    seed = conditions.settings.seed

    def draw(index: int) -> Architecture:
        if draws is None:
            return random_architecture(delivered.decisions, seed, index)
        return Architecture(draws(Random(stream_key(seed, index))))

    return Possible(
        decisions=delivered.decisions,
        stamp=Architecture,
        fits=(lambda kept: True) if bounds is None else bounds.fits,
        random=draw,
        seen=SeenFunctions(conditions.fresh, conditions.batch),
    )
