"""How much each width and block is worth: importance, sensitivity and, if asked for, the masked search."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from dnas.core.run import Run
from dnas.cost.tightening import until_measured
from dnas.data.batches import Batches
from dnas.shrinking.budget import WidthLimits
from dnas.shrinking.costs import Value
from dnas.shrinking.first_batches import first_batches, only_batches
from dnas.shrinking.importance import importance, ranking
from dnas.shrinking.masked_search import masked_search
from dnas.shrinking.memory import Memory
from dnas.shrinking.rivals import BAND
from dnas.shrinking.searchable import Narrowable
from dnas.shrinking.sensitivity import rises_of, scores
from dnas.shrinking.settings import ShrinkSettings
from dnas.system.display import Display
from dnas.task.base import Task


@dataclass(frozen=True)
class Worth:
    """What the integer program decides by.

    Args:
        ranking: for each group, the indices of its classes, the most important first.
        scores: of each value of each decision; the more the better.
        seconds: that it took to find out, over all parts of a run that was stopped.
    """

    ranking: Mapping[str, Sequence[int]]
    scores: Mapping[Value, float]
    seconds: float


def worth_of(
    searchable: Narrowable,
    limits: WidthLimits,
    *,
    train: Batches,
    held_out: Batches,
    task: Task,
    settings: ShrinkSettings,
    search_epochs: int,
    memory: Memory,
    run: Run | None,
    display: Display,
) -> Worth:
    """Importance ranks channels, the held-out loss scores widths and blocks, and a masked search refines the scores.

    Args:
        searchable: the trained model.
        limits: of the budget.
        train: batches for importance, statistics of batch norm, and the weights of the masked search.
        held_out: batches for the scores and the alphas.
        task: whose criterion is the loss.
        settings: sizes.
        search_epochs: of the masked search; 0 for none.
        memory: of what was worked out before a stop.
        run: folder of the masked search.
        display: where progress is shown.
    """
    started = time.perf_counter()
    program = limits.program

    first = partial(first_batches, skips=settings.skips_non_finite, say=display.say)

    def important() -> dict[str, list[float]]:
        batches = first(train, settings.batches, loader="train")
        found = importance(searchable.model, searchable.structure, batches, task)
        return {name: values.tolist() for name, values in found.items()}

    kept = {
        name: torch.tensor(some, dtype=torch.float64) for name, some in memory.once("importance", important).items()
    }
    order = ranking(kept)
    rises = rises_of(
        searchable,
        program,
        order,
        train=only_batches(first(train, settings.statistics_batches, loader="train")),
        held_out=first(held_out, settings.batches, loader="validation"),
        task=task,
        memory=memory,
        display=display,
    )
    found = scores(program, rises, kept)
    if search_epochs:
        found = masked_search(
            searchable,
            limits,
            found,
            order,
            train=train,
            held_out=held_out,
            task=task,
            settings=replace(settings.search, epochs=search_epochs, seed=settings.search.seed + settings.seed),
            run=run and run.child("search"),
            display=display,
        )
    seconds = memory.get("worth_seconds") or time.perf_counter() - started
    memory.keep("worth_seconds", seconds)
    return Worth(order, found, seconds)


@dataclass(frozen=True)
class Decision:
    """What the integer program chose.

    Args:
        values: of each decision.
        factor: times the limit in milliseconds, which predictions had to keep; 1 where there is none.
        milliseconds: of the network, measured; None without a limit in them.
    """

    values: Mapping[str, int]
    factor: float = 1.0
    milliseconds: float | None = None


def decide(
    limits: WidthLimits,
    worth: Worth,
    measure: Callable[[Mapping[str, int]], float],
    memory: Memory,
    display: Display,
) -> Decision:
    """The best values within the limits; a limit in milliseconds is kept as measured, and 95 % of it used if possible.

    Args:
        limits: of the budget.
        worth: of each value.
        measure: milliseconds of the network of some values.
        memory: keeps what was decided, since a measurement does not repeat to the bit.
        display: shows what was measured.

    Raises:
        UserError: no network is within the limits, or none as fast as measured.
    """
    limit = limits.milliseconds
    if limit is None:
        return Decision(limits.best(worth.scores))

    def measured(values: Mapping[str, int]) -> float:
        """Measured again where it seems too long: what disturbs the machine must not cost the network its width."""
        found = measure(values)
        return found if found <= limit.most else min(found, measure(values))

    def work_out() -> dict[str, Any]:
        met = until_measured(
            limit.most,
            lambda factor: limits.tightened(factor).best_or_fastest(worth.scores),
            measure=measured,
            predict=limit.cost.of,
            advice="Raise the budget, or shrink on a quiet machine.",
            say=display.say,
            least_use=BAND,
        )
        return {"values": met.decided, "factor": met.factor, "milliseconds": met.milliseconds}

    return Decision(**memory.once("decision", work_out))
