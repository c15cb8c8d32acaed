"""What was found in a user's own model beside random architectures of it, all trained alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.core.derive import derive, find_decisions
from dnas.core.mixture import Mixture
from dnas.core.own_module import OwnModule, made_model
from dnas.core.run import RETRAIN, Run
from dnas.cost.bounds import Bounds
from dnas.cost.drawing import BandDraws
from dnas.data.batches import Batches
from dnas.data.keyed_random import stream_key
from dnas.method.discretization.genome import active, kept, sites
from dnas.searching.seeded_batches import seeded_batches
from dnas.searching.start import read_start
from dnas.system.display import TERMINAL, Display
from dnas.system.errors import UserError
from dnas.system.random_state import seeded
from dnas.task.base import Task
from dnas.task.own import Criterion
from dnas.training.baseline import Training, train_random_baseline
from dnas.training.baseline_report import comparison_table, write_comparison
from dnas.training.comparison import Comparison
from dnas.training.evaluate import device_of
from dnas.training.retrain import task_of
from dnas.training.settings import RetrainSettings


@dataclass(frozen=True)
class Baseline:
    """The found network beside random ones.

    Args:
        comparison: every number.
    """

    comparison: Comparison

    def __str__(self) -> str:
        """The table, and sentences that say what it shows."""
        return comparison_table(self.comparison)


def baseline(
    model: OwnModule,
    train: Batches | Iterable[Any],
    validation: Batches | Iterable[Any],
    test: Batches | Iterable[Any],
    *,
    run: Run | Path | str,
    task: Task | None = None,
    criterion: Criterion | str | None = None,
    num: int = 8,
    settings: RetrainSettings = RetrainSettings(),
    display: Display = TERMINAL,
    bounds: Bounds | None = None,
) -> Baseline:
    """Train the found architecture and random ones alike, and compare them.

    All networks start from the weights that the model came with, which the search kept in its folder, never from
    searched ones. The found one is trained in RUN/retrain, or only measured if `dnas.retrain` has finished it there
    with the same settings, and the random ones in RUN/baseline/000, 001 ... A call that was stopped goes on when it is
    repeated; a larger `num` adds networks.

    Args:
        model: the searchable module, or a function that makes it; for the search of a supernet, its module.
        train: batches `(inputs, targets)` that all networks are trained on.
        validation: held out from training; random search chooses by it.
        test: only reported.
        run: folder of the search, which holds its architecture and its duration.
        task, criterion: as for `dnas.retrain`; the task's first metric decides, without any the loss does.
        num: number of random architectures.
        settings: settings of each training.
        display: where progress is shown; `dnas.Silent()` for nowhere.
        bounds: of a budget (`dnas.searching.own_bounds`), which random architectures then use; None for any cost.

    Raises:
        FileNotFoundError: the folder holds no finished search.
        UserError: as `dnas.retrain`; networks were trained under other settings, or nobody can tell the weights that a
            module came with.
        NonFiniteLoss, Interrupted: as `dnas.retrain`.

    Example:
        >>> print(baseline(Net, train, validation, test, run="runs/mine", task=task))  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else Run(run)
    architecture, seconds = run.load_architecture(), search_seconds(run)
    fresh = fresh_model(model, run, settings.seed)
    architecture.check(decisions := find_decisions(fresh))
    device = device_of(fresh)
    streams = {"train": train, "validation": validation, "test": test}
    trained_on, held_out, tested = (
        seeded_batches(name, data, device=device, seed=stream_key(settings.seed, stream))
        for stream, (name, data) in enumerate(streams.items())
    )
    training = Training(
        build=lambda architecture: derive(fresh, architecture),
        train=trained_on,
        validation=held_out,
        test=tested,
        settings=settings,
        task=task_of(task, criterion, settings),
    )
    found = training.row("found", architecture, run=run.child(RETRAIN), display=display)
    draws = None if bounds is None else BandDraws(bounds)

    def draw(index: int) -> Architecture:
        if draws is None:
            return random_architecture(decisions, settings.seed, index)
        return Architecture(draws(Random(stream_key(settings.seed, index))))

    random = train_random_baseline(draw, training, run=run, num=num, display=display)
    num_test = sum(batch.num_samples for batch in tested.epoch(0))
    comparison = Comparison(found, tuple(random), seconds, num_test)
    write_comparison(run, comparison)
    return Baseline(comparison)


def fresh_model(model: OwnModule, run: Run, seed: int) -> nn.Module:
    """The searchable module with the weights that it came with: those that the search kept, or those of a new one.

    Raises:
        UserError: a module is given, and the search has kept no weights.
    """
    start = read_start(run)
    if start is None and isinstance(model, nn.Module):
        raise UserError(
            f"{run.path} does not say with which weights the search began, and those of the given "
            f"{type(model).__name__} may have been searched: give a function that makes a new one, such as the class."
        )
    with seeded(seed):
        made = made_model(model)
    return made if start is None else start.of(made)


def random_architecture(decisions: Mapping[str, Decision], seed: int, index: int) -> Architecture:
    """Random architecture number `index` (0, 1 ...) of these decisions; the same seed and number give the same one.

    Candidates that may not be kept are not drawn.
    """
    random = Random(stream_key(seed, index))
    equal = {name: Mixture(torch.ones(decision.shape)) for name, decision in decisions.items()}
    places = sites(decisions, equal)
    genome = tuple(place.random(random) for place in places)
    return Architecture(kept(active(genome, places, decisions), decisions))


def search_seconds(run: Run) -> float:
    """Duration of a run's search, from the file that it left.

    Raises:
        UserError: it does not say so.
    """
    data = run.load_json("search") if (run.path / "search.json").exists() else None
    value = data.get("seconds") if isinstance(data, Mapping) else None
    if not isinstance(value, int | float):
        raise UserError(
            f"{run.path / 'search.json'} does not say how many seconds the search took: call the search again, which "
            f"writes it anew; from the command line, `dnas search --resume {run.path}`."
        )
    return float(value)
