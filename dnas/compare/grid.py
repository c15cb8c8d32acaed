"""Recipes and seeds: each an ordinary search, one row each, and the table of all rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnas.compare.row import CompareRow, Found
from dnas.compare.table import (
    Columns,
    Line,
    recipe_line,
    reference_line,
    rich_table,
    selected_by,
    to_csv,
    to_markdown,
    trajectory_csv,
    verdicts_text,
)
from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.data import open_source
from dnas.formats import read_nasbench201
from dnas.jobs.images import read_data
from dnas.jobs.job import SIZES, Job
from dnas.jobs.judge import comparable_training
from dnas.jobs.planning.ladder import images_in_half
from dnas.jobs.planning.search_plan import plan
from dnas.jobs.retrain import retrain_command
from dnas.jobs.run_folder import begin
from dnas.jobs.search import search_command
from dnas.shipping.load import RETRAIN
from dnas.space import NasBench201Space
from dnas.system.atomic import write_text
from dnas.system.devices import named_device
from dnas.system.difference import first_difference
from dnas.system.display import Display, RichDisplay
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.system.plain_data import to_plain
from dnas.system.threads import num_threads
from dnas.system.words import number_of
from dnas.table import RankAgreement, Table
from dnas.table.supernet_agreement import LOGGED
from dnas.training.baseline import draw_random, train_random_baseline
from dnas.training.comparison import Row
from dnas.training.significance import verdict, verdict_on_mean

# What must be the same in all runs of one table, besides the space.
ALIKE = ("data", "image_column", "label_column", "image_size", "stem", "test_fraction")
# What may differ between two runs of one recipe, besides settings that are `free`.
FREE = ("device", "threads", "time")
# What retraining measures, in percent, by the names of columns.
RETRAINED = Columns("retrained_validation", "retrained_test")
# Which columns are looked at where nothing is said, if the table has them.
DEFAULTS = Columns("valid200_c10", "test200_c10")
TRIVIAL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@dataclass(frozen=True)
class Grid:
    """What is compared, and where it goes.

    Args:
        jobs: the settings of each recipe, by its name; the seed in them is replaced.
        seeds: number of seeds, from 0 on.
        out: folder for all of it.
        baseline: recipe that the others are tested against.
        table: where accuracies come from; None retrains what is found.
        columns: of the table, or `RETRAINED`.
        num_random: without a table, number of random architectures that are retrained alike.
        agreement: with a table, number of random architectures over which each supernet's ranking is compared with it
            at the end of its search; 0 for no comparison.
    """

    jobs: Mapping[str, Job]
    seeds: int
    out: Path
    baseline: str
    table: Table | None
    columns: Columns
    num_random: int = 8
    agreement: int = 0

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds must be at least 1; got {self.seeds}.")
        if self.num_random < 1:
            raise UserError(f"num_random must be at least 1; got {self.num_random}.")
        if self.agreement and self.table is None:
            raise UserError("agreement has no effect without a table; add one, or leave it out.")
        self.watching()  # which checks the number
        if self.baseline not in self.jobs:
            raise UserError(
                f"The baseline recipe must be one of the recipes, {', '.join(self.jobs)}; got {self.baseline!r}."
            )
        for name, job in self.jobs.items():
            if job.time is not None:
                raise UserError(
                    "dnas compare gives every recipe the same epochs, not a time; use --search.epochs instead of "
                    f"the time {job.time!r} of {name}."
                )
            if job.seed != 0:
                raise UserError(f"dnas compare takes the seeds 0, 1 ... of --seeds; leave out seed {job.seed}.")
            if self.table is not None and not isinstance(job.space, NasBench201Space):
                raise UserError(
                    f"The table is of space {self.table.space!r}, and {name} searches {job.space.name!r}: give "
                    "--space dnas.NasBench201Space, or leave out --table, to retrain what is found."
                )

    def run(self, recipe: str, seed: int) -> Run:
        """The search of one recipe and seed."""
        return Run(self.out / "searches" / recipe / f"seed-{seed}")

    def row_path(self, recipe: str, seed: int) -> Path:
        return self.out / "rows" / f"{recipe}-seed-{seed}.json"

    def watching(self) -> list[RankAgreement]:
        """What looks on at each search."""
        if self.table is None or not self.agreement:
            return []
        return [RankAgreement(self.table, self.columns.select, self.agreement)]

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Recipe and seed of every run, all recipes of a seed before the next seed."""
        return [(recipe, seed) for seed in range(self.seeds) for recipe in self.jobs]


def columns_of(table: Table | None, select: str | None, report: str | None) -> Columns:
    """Which columns of a table select and report; those of retraining without a table.

    Raises:
        UserError: the table has no such column, or neither the usual ones nor a name is there.
    """
    if table is None:
        if select or report:
            raise UserError("--select and --report name columns of a table; without --table leave them out.")
        return RETRAINED
    names = []
    for option, name, usual in (("select", select, DEFAULTS.select), ("report", report, DEFAULTS.report)):
        if (name or usual) not in table.columns:
            raise UserError(
                f"The table has no column {name or usual!r}; name another with --{option}, of "
                f"{', '.join(sorted(table.columns))}."
            )
        names.append(name or usual)
    return Columns(*names)


# The runs


def compare(grid: Grid, display: RichDisplay) -> list[CompareRow]:
    """Run what is missing, write the table, print it; the rows of the grid that are there come back.

    Raises:
        UserError: rows or runs in the folder are damaged or of other settings, or something cannot be built.
        Interrupted: Ctrl-C.
    """
    grid = _retrained_alike(grid, display)
    _check_alike(grid)
    jobs = _settled(grid, display)
    # Before anything that takes long.
    rows = _load_rows(grid, jobs)
    for name, values in _differing_sizes(jobs, rows).items():
        display.say(f"Note: the recipes differ in {name} ({values}); --{name} sets it for all.")
    without = sum(row.found is not None and row.agreement is None for row in rows)
    if grid.agreement and without:
        display.say(f"Note: {without} of the rows that are there have no Kendall's tau; only new searches measure it.")
    for recipe, seed in grid.cases:
        _check_run(grid, jobs[recipe], recipe, seed)
    for index, (recipe, seed) in enumerate(grid.cases):
        job = replace(jobs[recipe], seed=seed)
        with _only_process(grid.run(recipe, seed).path) as alone:
            if not alone:
                display.say(f"{recipe}, seed {seed}: another process is at work on it; left to that.")
                continue
            _complete(grid, job, recipe, seed, _PartOfBar(display, part=index, num=len(grid.cases)))
    random = [] if grid.table is not None else _random_rows(grid, jobs[grid.baseline], display)
    rows = _load_rows(grid, jobs)
    _write_tables(grid, rows, random, _caption(grid, rows, _differing_sizes(jobs, rows)), display)
    return rows


def _settled(grid: Grid, display: Display) -> dict[str, Job]:
    """The jobs with all sizes; those that nobody gave are chosen once for all recipes and runs.

    Raises:
        UserError: a batch is larger than the data, or the file of sizes is damaged.
    """
    path = grid.out / "sizes.json"
    if not path.exists():
        chosen = _choose_sizes(grid, display)
        if not path.exists():  # another process may have been faster
            Run(grid.out).save_json("sizes", chosen)
    sizes = Run(grid.out).load_json("sizes")
    if not isinstance(sizes, Mapping) or set(sizes) != {*SIZES, "threads"}:
        raise UserError(f"{path} is damaged: expected the entries {[*SIZES, 'threads']}. Remove it.")
    return {
        recipe: replace(job, **{name: value for name, value in sizes.items() if getattr(job, name) is None})
        for recipe, job in grid.jobs.items()
    }


def _choose_sizes(grid: Grid, display: Display) -> dict[str, int | None]:
    """Sizes and threads for all recipes, planned by measuring the first one where it leaves some out."""
    recipe, job = next(iter(grid.jobs.items()))
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    half = images_in_half(job, catalog)
    for name, other in grid.jobs.items():
        if (other.batch_size or 0) > half:
            raise UserError(
                f"batch_size {other.batch_size} of {name} is more than the {half} images in each half of the data; "
                "give a smaller --batch_size."
            )
    if job.missing_sizes or job.threads is None:
        display.say(f"Data: {catalog.name}. Measuring this machine ...")
        chosen = plan(job, catalog, named_device(job.device))
        display.say(f"Of {recipe}, each seed: {chosen}")
        job = chosen.job
    return {name: getattr(job, name) for name in (*SIZES, "threads")}


def _retrained_alike(grid: Grid, display: Display) -> Grid:
    """The grid with the retraining of the baseline recipe for all, where there is no table."""
    if grid.table is not None:
        return grid
    retrain = grid.jobs[grid.baseline].retrain
    others = [recipe for recipe, job in grid.jobs.items() if job.retrain != retrain]
    if others:
        display.say(f"Note: what {', '.join(others)} finds is retrained as {grid.baseline} says, to be comparable.")
    return replace(grid, jobs={recipe: replace(job, retrain=retrain) for recipe, job in grid.jobs.items()})


def _check_alike(grid: Grid) -> None:
    """See that all recipes search one space on the same data, and that what is found can be retrained.

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
    """The first setting in which two runs differ that may not stand in one table, in words; empty if there is none.

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


def _differing_sizes(jobs: Mapping[str, Job], rows: Sequence[CompareRow]) -> dict[str, str]:
    """In which sizes the searches of one table differ, and how, since then more than the methods is compared.

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
    """See that networks can be built as retraining will, without memory for their weights."""
    if job.validation_fraction == 0:
        raise UserError(
            "Without a table found networks are chosen by images that are held out from retraining, but "
            "validation_fraction is 0. Give --validation_fraction 0.1."
        )
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


def _check_run(grid: Grid, job: Job, recipe: str, seed: int) -> None:
    """See that a run that is there, and of which there is no row yet, was made under the settings asked for."""
    run = grid.run(recipe, seed)
    if run.config_path.exists() and not grid.row_path(recipe, seed).exists():
        _check_settings(_settings_of(run), replace(job, seed=seed), run.path, with_retrain=False)


def _check_row(grid: Grid, jobs: Mapping[str, Job], row: CompareRow, path: Path) -> None:
    """See that a row may stand in the table.

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


def _settings_of(run: Run) -> Any:
    return run.read_config().get("job")


def _complete(grid: Grid, job: Job, recipe: str, seed: int, display: _PartOfBar) -> None:
    """Make a row, or add what is missing in the one that is there."""
    path, run = grid.row_path(recipe, seed), grid.run(recipe, seed)
    if path.exists():
        row = CompareRow.load(path)
    else:
        row = _searched(run, job, recipe, display, grid.watching())
        row.save(path)
    if row.found is not None and grid.table is not None and row.table != table_digest(grid.table):
        row = _looked_up(row, grid.table)
        row.save(path)
    if row.found is not None and grid.table is None and RETRAINED.report not in row.values:
        row = _retrained(run, job, row, display)
        row.save(path)
    if row.found is not None:
        columns = (grid.columns.select, grid.columns.report)
        unknown = [name for name in columns if name not in row.values]
        if unknown:
            raise UserError(
                f"The table does not know {unknown[0]} of what {recipe}, seed {seed}, found, {row.found.string}; name "
                "another column with --select and --report, or use a table that is whole."
            )
        report = ", ".join(f"{name} {row.values[name]:.2f}" for name in columns)
        display.finished(f"{recipe}, seed {seed}: {report}; {row.seconds:.0f} s")
    else:
        display.finished(f"{recipe}, seed {seed}: no result ({row.failure})")


def _searched(run: Run, job: Job, recipe: str, display: _PartOfBar, observers: Sequence[RankAgreement]) -> CompareRow:
    """Search, or go on with a search, or read what a finished one left."""
    failure, found = "", None
    if not run.config_path.exists():
        begin(run, job)
    if not ((run.path / "search.json").exists() and run.architecture_path.exists()):
        try:
            search_command(run, job, read_data(run, job, display), display, observers)
        except NonFiniteLoss as error:  # the loss is no number any more: a result of this recipe
            failure = str(error)
            display.say(f"{recipe}, seed {job.seed}, failed: {failure}")
    if not failure:
        found = Found(run.load_architecture())
    seconds = 0.0 if failure else float(run.load_json("search")["seconds"])
    return CompareRow(
        recipe=recipe,
        seed=job.seed,
        settings=_settings_of(run),
        environment=_environment(run, job),
        seconds=seconds,
        found=found,
        trajectory=tuple(_trajectory(run)),
        failure=failure,
        agreement=next((row[LOGGED] for row in reversed(run.metrics()) if LOGGED in row), None),
    )


def _environment(run: Run, job: Job) -> dict[str, Any]:
    """Under which versions the search began, and on what."""
    environment = dict(run.read_config().get("environment") or {})
    if named_device(job.device).type == "cpu":
        environment["device"] = f"cpu, {job.threads or environment.get('threads')} threads"
    return environment


def _trajectory(run: Run) -> Iterator[Found]:
    for path in sorted((run.path / "architectures").glob("epoch_*.json")):
        yield Found(Architecture.load(path), epoch=int(path.stem.removeprefix("epoch_")))


# How good it is


def table_digest(table: Table) -> str:
    """A text that changes with any number of a table."""
    content = hashlib.sha256()
    for name in sorted(table.columns):
        content.update(name.encode() + b"\0" + table.columns[name].tobytes())
    return content.hexdigest()[:16]


def _looked_up(row: CompareRow, table: Table) -> CompareRow:
    """The row with what a table says of every architecture in it, instead of what another table said.

    A recipe that drops edges, by a threshold for instance, may find what the table does not hold: no result.
    """
    assert row.found is not None
    found, digest = row.found, table_digest(table)
    kept = {name: value for name, value in found.values.items() if name in (RETRAINED.select, RETRAINED.report)}
    trajectory = tuple(_with_table_values(part, table) for part in row.trajectory)
    try:
        found = replace(found, values={**kept, **table_values(table, found.architecture)})
    except ValueError as error:
        failure = f"what was found is not in the table: {error}"
        return replace(row, found=None, failure=failure, trajectory=trajectory, table=digest)
    return replace(row, found=found, trajectory=trajectory, table=digest)


def _with_table_values(found: Found, table: Table) -> Found:
    """With what a table says of an architecture; with nothing where it does not hold it."""
    try:
        return replace(found, values=table_values(table, found.architecture))
    except ValueError:
        return replace(found, values={})


def table_values(table: Table, architecture: Architecture) -> dict[str, float]:
    """What each column says of an architecture; columns that do not know it are left out.

    Raises:
        UserError: the table does not hold such an architecture.
    """
    row = table.row_of(architecture)
    values = {name: float(column[row]) for name, column in table.columns.items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def _retrained(run: Run, job: Job, row: CompareRow, display: Display) -> CompareRow:
    """The row with accuracies of the network that was found, trained from new weights."""
    data = read_data(run, job, display)
    try:
        retrain_command(run, job, data, display)
        with num_threads(job.threads):
            trained = comparable_training(job, data).row("found", run.load_architecture(), run=run.child(RETRAIN))
    except NonFiniteLoss as error:
        display.say(f"{row.recipe}, seed {row.seed}, failed in retraining: {error}")
        return replace(row, found=None, failure=f"retraining: {error}")
    return replace(row, settings=to_plain(job)).with_values(_percents(trained))


def _percents(row: Row) -> dict[str, float]:
    return {RETRAINED.select: 100 * row.validation_top1, RETRAINED.report: 100 * row.test_top1}


def _random_rows(grid: Grid, job: Job, display: Display) -> list[dict[str, float]]:
    """Random architectures of the space, trained like the found ones, with seed 0."""
    folder = grid.out / "random"
    with _only_process(folder) as alone:
        if not alone:
            display.say("The random architectures: another process is at work on them; left to that.")
            return []
        run = Run(folder)
        data = read_data(run, job, display)
        with num_threads(job.threads):
            rows = train_random_baseline(
                lambda index: draw_random(job.space, job.seed, index),
                comparable_training(job, data),
                run=run,
                num=grid.num_random,
                display=display,
            )
    return [_percents(row) for row in rows]


# The tables


def _load_rows(grid: Grid, jobs: Mapping[str, Job]) -> list[CompareRow]:
    """All rows in the folder, those of the grid first; also of recipes that another process was asked for.

    What rows say of another table is looked up in the table of the grid.

    Raises:
        UserError: a row is damaged, or may not stand in one table with the others.
    """
    rows = []
    for path in sorted((grid.out / "rows").glob("*.json")):
        row = CompareRow.load(path)
        _check_row(grid, jobs, row, path)
        rows.append(row if grid.table is None or row.found is None else _looked_up(row, grid.table))
    order = {recipe: index for index, recipe in enumerate(grid.jobs)}
    return sorted(rows, key=lambda row: (order.get(row.recipe, len(order)), row.recipe, row.seed))


def _write_tables(
    grid: Grid, rows: Sequence[CompareRow], random: list[dict[str, float]], caption: str, display: RichDisplay
) -> None:
    columns = {grid.columns.select, grid.columns.report}
    usable = [row for row in rows if row.found is None or columns <= set(row.values)]
    if not usable:
        return
    lines = table_lines(grid, usable, random)
    text = to_markdown(lines, caption=caption, baseline=grid.baseline)
    write_text(grid.out / "table.md", text)
    write_text(grid.out / "table.csv", to_csv(lines))
    write_text(grid.out / "trajectory.csv", trajectory_csv(usable, grid.columns))
    if display.console.is_terminal:
        tests = verdicts_text(lines, baseline=grid.baseline)
        display.console.print(caption, rich_table(lines), tests, sep="\n", markup=False)
    else:  # a file has lines of any length
        display.say(text)


def table_lines(grid: Grid, rows: Sequence[CompareRow], random: Sequence[Mapping[str, float]]) -> list[Line]:
    """A line for each recipe that has rows, then what they have to beat."""
    columns = grid.columns
    baseline = [row.values[columns.report] for row in rows if row.recipe == grid.baseline and row.found is not None]
    lines = []
    for recipe in dict.fromkeys(row.recipe for row in rows):
        own = [row for row in rows if row.recipe == recipe]
        lines.append(
            recipe_line(
                recipe,
                own,
                columns=columns,
                percentiles=[p for row in own if row.found is not None for p in _percentiles(grid, row, random)],
                baseline=baseline,
                is_baseline=recipe == grid.baseline,
                against_random=_against_random(grid, own, random),
            )
        )
    return [*lines, *(_table_references(grid.table, columns) if grid.table else _random_references(columns, random))]


def _percentiles(grid: Grid, row: CompareRow, random: Sequence[Mapping[str, float]]) -> list[float]:
    """Of one row: none where there is nothing to compare it with."""
    assert row.found is not None
    if grid.table is not None:
        return [grid.table.percentile(row.found.architecture, grid.columns.report)]
    return (
        [percentile_among(row.values[grid.columns.report], [one[grid.columns.report] for one in random])]
        if random
        else []
    )


def _against_random(grid: Grid, rows: Sequence[CompareRow], random: Sequence[Mapping[str, float]]) -> str:
    """Whether a recipe's runs are better than random architectures, in words.

    The mean of a whole table is known exactly; that of some architectures is as uncertain as the recipe's own.
    """
    report = grid.columns.report
    values = [row.values[report] for row in rows if row.found is not None]
    if grid.table is not None:
        return verdict_on_mean(values, grid.table.summary(report).mean)
    return verdict(values, [one[report] for one in random]) if random else ""


def percentile_among(value: float, others: Sequence[float]) -> float:
    """Share of `others` that are lower, ties counting half, 0 to 100."""
    lower, equal = sum(other < value for other in others), sum(other == value for other in others)
    return 100 * (lower + equal / 2) / len(others)


def _table_references(table: Table, columns: Columns) -> list[Line]:
    select, report = (table.columns[name].astype(np.float64) for name in (columns.select, columns.report))
    known = ~np.isnan(select) & ~np.isnan(report)
    values, deciding = report[known].tolist(), select[known].tolist()
    best, trivial = table.best(columns.report), read_nasbench201(TRIVIAL)
    return [
        reference_line("random architecture (whole table)", values, None, None),
        reference_line(
            "best of the table",
            [best.value],
            selected_by(deciding, values),
            table.percentile(best.architecture, columns.report),
        ),
        reference_line(
            "every edge nor_conv_3x3",
            [table.accuracy(trivial, columns.report)],
            None,
            table.percentile(trivial, columns.report),
        ),
    ]


def _random_references(columns: Columns, random: Sequence[Mapping[str, float]]) -> list[Line]:
    if not random:
        return []
    values = [one[columns.report] for one in random]
    chosen = selected_by([one[columns.select] for one in random], values)
    return [reference_line("random architectures", values, chosen, 50.0)]


def _caption(grid: Grid, rows: Sequence[CompareRow], differing: Mapping[str, str]) -> str:
    """What the table is of, where its searches ran, and in which sizes they differ."""
    job = next(iter(grid.jobs.values()))
    if grid.table is None:
        epochs = job.retrain.epochs
        how = f"Networks are trained alike from new weights for {number_of(epochs, 'epoch')}."
    else:
        how = f"Looked up in a table ({grid.table.source})."
    recipes: dict[str, dict[str, None]] = {}
    for row in rows:
        recipes.setdefault(row.device, {})[row.recipe] = None
    ran = [device if len(recipes) == 1 else f"{device} ({', '.join(names)})" for device, names in recipes.items()]
    measured = any(row.agreement is not None for row in rows)
    tau = " `tau` is Kendall's, of supernets and table over random architectures." if measured else ""
    unlike = "".join(f" The recipes differ in {name}: {values}." for name, values in differing.items())
    return (
        f"Test accuracy in percent, `{grid.columns.report}`, selected by `{grid.columns.select}`; space "
        f"`{job.space.name}`, data `{Path(job.data).name}`. {how} Mean and sample standard deviation over seeds."
        f" Searches ran on {' and '.join(ran)}.{tau}{unlike}"
    )


# One process per run


@contextmanager
def _only_process(folder: Path) -> Iterator[bool]:
    """Whether no other process of this machine works on a folder; until the block ends, none will.

    The operating system frees the lock of a process that is killed. Where it has no such locks, always True.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class _PartOfBar(Display):
    """Shows the progress of one of several searches as a part of that of all."""

    def __init__(self, display: Display, *, part: int, num: int) -> None:
        self.display = display
        self.part = part
        self.num = num

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if phase == "search":
            self.display.update("compare", self.part * total + done, self.num * total, {"run": self.part, **scalars})

    def say(self, text: str) -> None:
        self.display.say(text)

    def finished(self, text: str) -> None:
        self.display.say(f"[{self.part + 1}/{self.num}] {text}")
