"""Checks that all runs of one table may stand beside each other: settings, data, space and retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dnas.compare.grid import RETRAINED, Grid
from dnas.compare.row import CompareRow
from dnas.core.run import Run
from dnas.jobs.job import SIZES, Job
from dnas.system.difference import first_difference
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.training.baseline import draw_random

# What must be the same in all runs of one table, besides the space.
ALIKE = ("data", "task", "model", "augment", "image_column", "label_column", "image_size", "stem", "test_fraction")
# What may differ between two runs of one recipe, besides settings that are `free`.
FREE = ("device", "threads", "time")


def retrained_alike(grid: Grid, display: Display) -> Grid:
    """The grid in which all recipes have the retraining settings of the baseline recipe; unchanged with a table."""
    if grid.table is not None:
        return grid
    retrain = grid.jobs[grid.baseline].retrain
    others = [recipe for recipe, job in grid.jobs.items() if job.retrain != retrain]
    if others:
        display.say(f"Note: what {', '.join(others)} finds is retrained as {grid.baseline} says, to be comparable.")
    return replace(grid, jobs={recipe: replace(job, retrain=retrain) for recipe, job in grid.jobs.items()})


def check_alike(grid: Grid) -> None:
    """Check that all recipes search one space on the same data and that their networks can be retrained.

    Raises:
        UserError: names the first difference, or the network that is to be retrained cannot be built.
    """
    baseline = grid.jobs[grid.baseline]
    for recipe, job in grid.jobs.items():
        difference = _first_unlike(grid, to_plain(baseline), job, words=(f"in {grid.baseline}", f"in {recipe}"))
        if difference:
            raise UserError(
                f"What is compared must be alike, but {difference}. Give that setting on the command line, for "
                "all recipes."
            )
        if job.space.name != baseline.space.name:
            raise UserError(
                f"Only architectures of one space can be compared, but {grid.baseline} searches "
                f"{baseline.space.name!r} and {recipe} {job.space.name!r}. Give --space, for all recipes."
            )
        if grid.table is None:
            _check_retraining(job)


def _first_unlike(grid: Grid, there: Mapping[str, Any], here: Job, *, words: tuple[str, str]) -> str:
    """The first setting that makes two runs incomparable, in words; empty if there is none.

    Args:
        there: settings as plain data; one that it does not know yet counts as its default.
        here: settings.
        words: what the two are called.
    """
    names = ALIKE if grid.table is not None else (*ALIKE, "validation_fraction")
    for name in names:
        value = there.get(name, to_plain(getattr(Job, name)))
        difference = first_difference(value, getattr(here, name), place=name, words=words)
        if difference:
            return difference
    return ""


def differing_sizes(jobs: Mapping[str, Job], rows: Sequence[CompareRow]) -> dict[str, str]:
    """The sizes in which the searches of one table differ, with their values; they too make a difference in accuracy.

    Args:
        jobs: what is asked for, by recipe.
        rows: those that are there, also of other recipes.
    """
    settings = [
        *((recipe, to_plain(job)) for recipe, job in jobs.items()),
        *((row.recipe, row.settings) for row in rows),
    ]
    found = {}
    for name in (*SIZES, "search.epochs"):
        values: dict[str, list[str]] = {}
        for recipe, plain in settings:
            known = values.setdefault(recipe, [])
            value = str(plain["search"]["epochs"] if name == "search.epochs" else plain[name])
            known.extend([value] if value not in known else [])
        if len({value for known in values.values() for value in known}) > 1:
            found[name] = ", ".join(f"{recipe} {' and '.join(known)}" for recipe, known in values.items())
    return found


def _check_retraining(job: Job) -> None:
    """Check that retraining can build its networks; no memory is taken for their weights."""
    if job.validation_fraction == 0:
        raise UserError(
            "Without a table found networks are chosen by images that are held out from retraining, but "
            "validation_fraction is 0. Give --validation_fraction 0.1."
        )
    if job.model is not None:  # it is built before the first search
        return
    architecture = draw_random(job.space, job.seed, 0)
    with torch.device("meta"):
        job.space.network(
            architecture,
            channels=job.retrain.channels,
            cells=job.retrain.cells,
            num_classes=2,
            stem=job.stem,
            auxiliary=job.retrain.auxiliary,
        )


def check_run(grid: Grid, job: Job, recipe: str, seed: int) -> None:
    """Check that a run without a row was made under the settings that the user asks for."""
    run = grid.run(recipe, seed)
    if run.config_path.exists() and not grid.row_path(recipe, seed).exists():
        _check_settings(settings_of(run), replace(job, seed=seed), run.path, with_retrain=False)


def check_row(grid: Grid, jobs: Mapping[str, Job], row: CompareRow, path: Path) -> None:
    """Check that a row may stand in the table.

    Rows of a recipe that is asked for must be of its settings, whatever their seed; rows of others, which an earlier
    command or another process has made, of the same data, space and retraining.
    """
    retrained = grid.table is None and RETRAINED.report in row.values
    if row.recipe in jobs:
        _check_settings(row.settings, replace(jobs[row.recipe], seed=row.seed), path, with_retrain=retrained)
        return
    baseline, words = jobs[grid.baseline], ("there", f"in {grid.baseline}")
    difference = _first_unlike(grid, row.settings, baseline, words=words)
    spaces = {found.architecture.space for found in (row.found, *row.trajectory) if found is not None}
    if not difference and spaces - {baseline.space.name}:
        difference = f"it is of space {spaces.pop()!r}, and {grid.baseline} searches {baseline.space.name!r}"
    if not difference and retrained:
        there = row.settings.get("retrain")
        difference = first_difference(there, baseline.retrain, ignored=FREE, place="retrain", words=words)
    if difference:
        raise UserError(
            f"{path} cannot stand in one table with {grid.baseline}: {difference}. Ask for the same, choose another "
            "--run, or move that row away."
        )


def _check_settings(there: Any, job: Job, path: Path, *, with_retrain: bool) -> None:
    difference = first_difference(there, job, ignored=FREE if with_retrain else (*FREE, "retrain"))
    if difference:
        raise UserError(
            f"{path} was made under other settings: {difference}. Ask for the same, or choose another --run."
        )


def settings_of(run: Run) -> Any:
    return run.read_config().get("job")
