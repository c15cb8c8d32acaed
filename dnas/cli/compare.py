"""`dnas compare`: recipes against each other over seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.beside import add_opponents
from dnas.cli.budget import FINALISTS_WORDS, with_budget, with_finalists
from dnas.cli.own_model import check_own_sizes
from dnas.cli.parser import Command, build_parser, settings_of
from dnas.cli.recipes import (
    RECIPE,
    add_recipe,
    fitted,
    job_settings,
    notes_on_recipe,
    with_files,
    with_warmup_in_proportion,
)
from dnas.cli.shared import goes_on_with, part_of
from dnas.cli.workers import check_workers, workers_of
from dnas.compare.compare import compare
from dnas.compare.grid import Grid, columns_of
from dnas.core.run import Run
from dnas.finalists.opponents.named import named_opponents
from dnas.jobs.job import Job
from dnas.jobs.job_data import open_data, with_task_of
from dnas.jobs.milliseconds import is_limited
from dnas.jobs.recipe import recipe_names, recipe_path
from dnas.jobs.report import report_at_end
from dnas.system.display import Display, RichDisplay
from dnas.system.errors import UserError
from dnas.table import load_table
from dnas.task.classification import Classification


@dataclass(frozen=True)
class CompareOptions:
    """Options of `dnas compare` besides the settings of the searches.

    Args:
        run: folder for searches, rows and tables; the same command goes on with what is missing in it.
        budget: what the retrained networks may cost, as for `dnas search`; its finalists are trained here too.
        seeds: number of searches of each recipe, with the seeds 0, 1 ...
        table: file of a benchmark's table, in which accuracies are looked up; without it the architectures that are
            found, and random ones, are retrained.
        select: column of the table that selects among runs; by default valid200_c10.
        report: column of the table that is reported; by default test200_c10.
        baseline_recipe: name of the recipe that the others are tested against; by default the first.
        num_random: number of random architectures that are retrained if there is no table; by default 8.
        agreement: with a table, number of random architectures over which each supernet's ranking is compared with it
            at the end of its search; 50 of them take about as long as five epochs. The table then has a column tau.
        ray: 'local' makes rows at the same time on the cores of this machine, 'auto' or HOST:PORT on a Ray cluster
            whose machines all see the folder (docs/clusters.md); the table is the same.
        gpus_per_row: with --ray, GPUs of each row, which may be a part of one, such as 0.25.
    """

    run: Path
    budget: str | None = None
    seeds: int = 3
    table: Path | None = None
    select: str | None = None
    report: str | None = None
    baseline_recipe: str | None = None
    num_random: int | None = None
    agreement: int | None = None
    ray: str | None = None
    gpus_per_row: float | None = None

    def __post_init__(self) -> None:
        check_workers(self.ray, self.gpus_per_row)
        if self.agreement is not None and self.table is None:
            raise UserError("--agreement has no effect without --table; add that, or leave it out.")
        if self.num_random is not None and self.table is not None:
            raise UserError("--num_random has no effect with --table, which knows all architectures; leave it out.")


def _fill(parser: ArgumentParser) -> None:
    parser.usage = "dnas compare --recipes RECIPE [RECIPE ...] --run FOLDER [options]"
    parser.add_argument(
        "--recipes",
        type=str,
        nargs="+",
        required=True,
        help=f"one or more of {', '.join(recipe_names())}, or YAML files",
    )
    add_opponents(parser, "the baseline recipe")
    add_recipe(parser, "the first of --recipes, put here by the command itself")
    parser.add_class_arguments(CompareOptions, None, sub_configs=False)
    parser.add_class_arguments(Job, None, sub_configs=False)


def _understood(given: Arguments) -> Arguments:
    """Settings are taken from the first recipe; `jobs_of` takes them from each."""
    if RECIPE in given.names:
        raise UserError("dnas compare has --recipes, for one or more of them; it has no option --recipe.")
    check_own_sizes(given)
    recipes = given.values("--recipes")
    return _with_recipe(given, recipes[0]) if recipes else given


def _with_recipe(given: Arguments, recipe: str) -> Arguments:
    """`given`, with the settings of a recipe below it."""
    return with_warmup_in_proportion(with_files(given.beginning_with(RECIPE, recipe), job_settings(CompareOptions)))


def _run(config: Namespace, given: Arguments) -> None:
    options = part_of(config, CompareOptions)
    table = None if options.table is None else load_table(options.table)
    with RichDisplay() as display:
        jobs = jobs_of(config.recipes, given, options.budget, display)
        grid = Grid(
            jobs,
            seeds=options.seeds,
            out=options.run,
            baseline=options.baseline_recipe or next(iter(jobs)),
            table=table,
            columns=columns_of(
                table, options.select, options.report, next(iter(jobs.values())).task or Classification()
            ),
            num_random=options.num_random or 8,
            agreement=options.agreement or 0,
            opponents=named_opponents(config.opponents),
        )
        workers = workers_of(options.ray, options.gpus_per_row, grid.jobs.values())
        with goes_on_with("compare", *given.words):
            rows, failed = compare(grid, display, workers)
        with grid.writing(display):
            report_at_end(Run(grid.out), None, display)
        display.say(f"Everything is in {grid.out}: table.md, table.csv, trajectory.csv, rows, searches.")
    without = [f"{row.recipe}, seed {row.seed}" for row in rows if row.failure]
    without += [f"{name} ({why})" for name, why in failed.items()]
    if without:
        print(f"dnas: without a result: {'; '.join(without)}", file=sys.stderr)
        sys.exit(1)


def jobs_of(recipes: Sequence[str], given: Arguments, budget: str | None, display: Display) -> dict[str, Job]:
    """The settings of each recipe, by its name, with those from the command line over them.

    Args:
        recipes: names of recipes, or their files.
        given: the command line.
        budget: what `--budget` says.
        display: is told what follows from them.

    Raises:
        UserError: they do not fit, or two recipes have one name.
    """
    is_told = False
    jobs: dict[str, Job] = {}
    for recipe in recipes:
        path, name = recipe_path(recipe), Path(recipe).stem
        if name in jobs:
            raise UserError(f"Two recipes are called {name!r}; give each once, or rename a file.")
        asked = with_budget(job_of_recipe(recipe, given), budget)
        if is_limited(asked):
            raise UserError(
                f"dnas compare has no budget in milliseconds, as {budget or path} asks: give one of flops, multiadds "
                "or parameters, or search with `dnas search --budget` for each seed."
            )
        job = with_finalists(asked, given)
        is_told = is_told or job != asked
        job = fitted(job, given)
        jobs[name] = with_task_of(job, open_data(job))
        for note in notes_on_recipe(path, job):
            display.say(note)
    if is_told:
        display.say(FINALISTS_WORDS)
    return jobs


def job_of_recipe(recipe: str, given: Arguments) -> Job:
    """The settings of a recipe, with those that were given over them.

    Raises:
        UserError: they do not fit.
    """
    try:
        return part_of(settings_of(COMMAND, build_parser(COMMAND), _with_recipe(given, recipe)), Job)
    except UserError as error:
        raise UserError(f"Recipe {Path(recipe).stem}: {error}") from error


COMMAND = Command(
    "compare", _fill, _run, _understood, other_names={"--epochs": "--search.epochs", "--finalists": "--finalists.num"}
)
