"""`dnas compare`: check the grid, run what is missing, write the table and print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dnas.compare.accuracy import looked_up
from dnas.compare.alike import check_alike, check_row, check_run, differing_sizes, retrained_alike
from dnas.compare.grid import Grid
from dnas.compare.lines import table_lines
from dnas.compare.row import CompareRow
from dnas.compare.runs import complete, only_process, random_rows
from dnas.compare.sizes import settled
from dnas.compare.table import (
    rich_table,
    to_csv,
    to_markdown,
    trajectory_csv,
    verdicts_text,
)
from dnas.compare.workers import complete_on_workers, named
from dnas.distributed.ray_tasks import RayTasks
from dnas.jobs.job import Job
from dnas.system.atomic import write_text
from dnas.system.display import PartOfBar, RichDisplay
from dnas.system.words import number_of
from dnas.task.words import called


def compare(
    grid: Grid, display: RichDisplay, workers: RayTasks | None = None
) -> tuple[list[CompareRow], dict[str, str]]:
    """Run the searches that are missing, write and print the table, and return the rows that are there.

    Args:
        grid: what is compared.
        display: shows progress and the table.
        workers: who makes the rows; None for this process. It is this process that makes the table in both cases.

    Returns:
        The rows, and why rows could not be made, by their names.

    Raises:
        UserError: rows or runs in the folder are damaged or were made under other settings, or a network cannot be
            built.
        Interrupted: Ctrl-C.
    """
    grid = retrained_alike(grid, display)
    check_alike(grid)
    jobs = settled(grid, display)
    # Rows and runs are checked before anything that takes long.
    rows = _load_rows(grid, jobs)
    for name, values in differing_sizes(jobs, rows).items():
        display.say(f"Note: the recipes differ in {name} ({values}); --{name} sets it for all.")
    without = sum(row.found is not None and row.agreement is None for row in rows)
    if grid.agreement and without:
        display.say(f"Note: {without} of the rows that are there have no Kendall's tau; only new searches measure it.")
    for recipe, seed in grid.cases:
        check_run(grid, grid.job(recipe, jobs), recipe, seed)
    failed = {} if workers is None else complete_on_workers(grid, jobs, workers, display)
    for index, (recipe, seed) in enumerate(grid.cases):
        if named(recipe, seed) in failed:
            continue
        job = replace(grid.job(recipe, jobs), seed=seed)
        with only_process(grid.run(recipe, seed).path, display) as alone:
            if not alone:
                continue
            bar = PartOfBar(display, "search", shown_as="compare", unit="run", part=index, num=len(grid.cases))
            complete(grid, job, recipe, seed, bar)
    random = [] if grid.table is not None else random_rows(grid, jobs[grid.baseline], display, workers)
    rows = _load_rows(grid, jobs)
    _write_tables(grid, rows, random, _caption(grid, rows, differing_sizes(jobs, rows)), display)
    return rows, failed


def _load_rows(grid: Grid, jobs: Mapping[str, Job]) -> list[CompareRow]:
    """All rows in the folder, those of the grid first, and those of recipes that only another process was asked for.

    Accuracies that come from another table are looked up again in the table of the grid.

    Raises:
        UserError: a row is damaged, or cannot be compared with the others.
    """
    rows = []
    for path in sorted((grid.out / "rows").glob("*.json")):
        row = CompareRow.load(path)
        check_row(grid, jobs, row, path)
        rows.append(row if grid.table is None or row.found is None else looked_up(row, grid.table))
    order = {recipe: index for index, recipe in enumerate((*grid.jobs, *grid.opponents))}
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
    with grid.writing(display):
        write_text(grid.out / "table.md", text)
        write_text(grid.out / "table.csv", to_csv(lines))
        write_text(grid.out / "trajectory.csv", trajectory_csv(usable, grid.columns))
    if display.console.is_terminal:
        tests = verdicts_text(lines, baseline=grid.baseline)
        display.console.print(caption, rich_table(lines), tests, sep="\n", markup=False)
    else:  # a file has lines of any length
        display.say(text)


def _caption(grid: Grid, rows: Sequence[CompareRow], differing: Mapping[str, str]) -> str:
    """A caption that says what the table shows, where the searches ran and in which sizes they differ."""
    job = next(iter(grid.jobs.values()))
    where = f"space `{job.space.name}`" if job.model is None else f"model `{job.model}`"
    if grid.table is None:
        epochs = job.retrain.epochs
        how = f"Networks are trained alike from new weights for {number_of(epochs, 'epoch')}."
    else:
        how = f"Looked up in a table ({grid.table.source})."
    recipes: dict[str, dict[str, None]] = {}
    for row in rows:
        recipes.setdefault(row.device, {})[row.recipe] = None
    ran = [device if len(recipes) == 1 else f"{device} ({', '.join(names)})" for device, names in recipes.items()]
    columns = grid.columns
    what = "accuracy" if columns.metric == "top1" else called(columns.metric)
    what += " in percent" if columns.is_share else ""
    what += " (lower is better)" if columns.better == "lower" else ""
    measured = any(row.agreement is not None for row in rows)
    tau = " `tau` is Kendall's, of supernets and table over random architectures." if measured else ""
    unlike = "".join(f" The recipes differ in {name}: {values}." for name, values in differing.items())
    return (
        f"Test {what}, `{grid.columns.report}`, selected by `{grid.columns.select}`; {where}, "
        f"data `{Path(job.data).name}`. {how} Mean and sample standard deviation over seeds."
        f" Searches ran on {' and '.join(ran)}.{tau}{unlike}"
    )
