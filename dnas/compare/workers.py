"""The rows of a comparison in advance, on Ray's workers; the comparison then finds them in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from dnas.compare.grid import RETRAINED, Grid
from dnas.compare.row import CompareRow
from dnas.compare.runs import complete, only_process
from dnas.distributed.ray_tasks import RayTasks
from dnas.jobs.job import Job
from dnas.system.display import Display, PartOfBar


class _Lines(Display):
    """Keeps the lines that a row says, for the process that asked for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        pass

    def say(self, text: str) -> None:
        self.lines.append(text)


def complete_on_workers(grid: Grid, jobs: Mapping[str, Job], workers: RayTasks, display: Display) -> dict[str, str]:
    """Make all rows that are missing; those that could not be made come back with the reason.

    Opponents have a second round, since each spends the compute of a search of the first.
    """
    failed: dict[str, str] = {}
    for names in (grid.jobs, grid.opponents):
        tasks = {
            named(recipe, seed): partial(completed, grid, replace(grid.job(recipe, jobs), seed=seed), recipe, seed)
            for recipe, seed in grid.cases
            if recipe in names and not _is_whole(grid, recipe, seed)
        }
        if tasks:
            failed |= workers.carry_out(tasks, folder=grid.out, say=display.say)
    return failed


def completed(grid: Grid, job: Job, recipe: str, seed: int) -> str:
    """On a worker: make a row, or go on with one; its last line."""
    lines = _Lines()
    with only_process(grid.run(recipe, seed).path, lines) as alone:
        if alone:
            complete(grid, job, recipe, seed, PartOfBar(lines, "search", unit="run", part=0, num=1))
    return lines.lines[-1].removeprefix("[1/1] ")


def named(recipe: str, seed: int) -> str:
    """What a row is called in messages."""
    return f"{recipe}, seed {seed}"


def _is_whole(grid: Grid, recipe: str, seed: int) -> bool:
    path = grid.row_path(recipe, seed)
    if not path.exists():
        return False
    row = CompareRow.load(path)
    return row.found is None or grid.table is not None or RETRAINED.report in row.values
