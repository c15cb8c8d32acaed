"""The runs of a grid: each an ordinary search that leaves one row, and the random architectures beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dnas.compare.accuracy import looked_up, measured_values, retrained, table_digest
from dnas.compare.alike import settings_of
from dnas.compare.grid import RETRAINED, Grid
from dnas.compare.row import CompareRow, Found
from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.distributed.ray_tasks import RayTasks
from dnas.jobs.budget import random_architectures
from dnas.jobs.compute import spent_in
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import comparable_training
from dnas.jobs.opponents import opponent_command
from dnas.jobs.run_folder import begin
from dnas.jobs.search import search_command
from dnas.jobs.workers import train_on_workers
from dnas.report.live import ShowArchitecture
from dnas.searching.start import hand_on_start
from dnas.system.devices import named_device
from dnas.system.display import Display, PartOfBar
from dnas.system.errors import FolderInUse, NonFiniteLoss, UserError
from dnas.system.lock import locked
from dnas.system.threads import num_threads
from dnas.table.supernet_agreement import LOGGED
from dnas.training.baseline import random_places, train_random_baseline


def complete(grid: Grid, job: Job, recipe: str, seed: int, display: PartOfBar) -> None:
    """Make the row of a run, or add to an existing row what it lacks."""
    path, run = grid.row_path(recipe, seed), grid.run(recipe, seed)
    if path.exists():
        row = CompareRow.load(path)
    else:
        is_opponent = recipe in grid.opponents
        row = _opposed(grid, job, recipe, display) if is_opponent else _searched(grid, job, recipe, display)
        _keep(grid, row, display)
    if row.found is not None and grid.table is not None and row.table != table_digest(grid.table):
        row = looked_up(row, grid.table)
        _keep(grid, row, display)
    if row.found is not None and grid.table is None and RETRAINED.report not in row.values:
        row = retrained(run, job, row, display)
        _keep(grid, row, display)
    if row.found is not None:
        columns = (grid.columns.select, grid.columns.report)
        unknown = [name for name in columns if name not in row.values]
        if unknown:
            raise UserError(
                f"The table does not know {unknown[0]} of what {recipe}, seed {seed}, found, {row.found.string}; name "
                "another column with --select and --report, or use a table that is whole."
            )
        report = ", ".join(f"{name} {grid.columns.text(row.values[name])}" for name in columns)
        display.finished(f"{recipe}, seed {seed}: {report}; {row.seconds:.0f} s")
    else:
        display.finished(f"{recipe}, seed {seed}: no result ({row.failure})")


def _keep(grid: Grid, row: CompareRow, display: Display) -> None:
    with grid.writing(display):
        row.save(grid.row_path(row.recipe, row.seed))


def _opposed(grid: Grid, job: Job, name: str, display: PartOfBar) -> CompareRow:
    """Let an opponent spend the compute of the baseline recipe's search of the same seed, or read what it has found."""
    run = grid.run(name, job.seed)
    if not run.config_path.exists():
        begin(run, job)
    if not run.architecture_path.exists():
        data, of = read_data(run, job, display), grid.run(grid.baseline, job.seed)
        hand_on_start(of, run)  # of a module of the user's own
        opponent_command(run, job, data, grid.opponents[name], display, name=name, of=of)
    return _row(run, job, name, Found(run.load_architecture()), "")


def _searched(grid: Grid, job: Job, recipe: str, display: PartOfBar) -> CompareRow:
    """Search, go on with a search that was stopped, or read the result of a finished one."""
    run = grid.run(recipe, job.seed)
    observers = [*grid.watching(), ShowArchitecture(display, run, job.search.epochs)]
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
    return _row(run, job, recipe, found, failure)


def _row(run: Run, job: Job, recipe: str, found: Found | None, failure: str) -> CompareRow:
    """The row of a run that is finished or has failed."""
    spent = spent_in(run)
    seconds = 0.0 if failure else float(run.load_json("search")["seconds"])
    return CompareRow(
        recipe=recipe,
        seed=job.seed,
        settings=settings_of(run),
        environment=_environment(run, job),
        seconds=seconds,
        found=found,
        trajectory=tuple(_trajectory(run)),
        failure=failure,
        agreement=next((row[LOGGED] for row in reversed(run.metrics()) if LOGGED in row), None),
        compute=None if spent is None else spent.seconds,
        flops=None if spent is None else spent.flops,
    )


def _environment(run: Run, job: Job) -> dict[str, Any]:
    """The versions and the device of the search."""
    environment = dict(run.read_config().get("environment") or {})
    if named_device(job.device).type == "cpu":
        environment["device"] = f"cpu, {job.threads or environment.get('threads')} threads"
    return environment


def _trajectory(run: Run) -> Iterator[Found]:
    for path in sorted((run.path / "architectures").glob("epoch_*.json")):
        yield Found(Architecture.load(path), epoch=int(path.stem.removeprefix("epoch_")))


def random_rows(grid: Grid, job: Job, display: Display, workers: RayTasks | None) -> list[dict[str, float]]:
    """Random architectures, trained like the found ones, with seed 0; by workers, if there are any."""
    folder = grid.out / "random"
    with only_process(folder, display) as alone:
        if not alone:
            return []
        run = Run(folder)
        data = read_data(run, job, display)
        draw = random_architectures(job, run, data.kind)
        # A module of the user's own starts from the weights that the first search has kept.
        search = grid.run(grid.baseline, 0)
        if workers is not None:
            train_on_workers(run, job, random_places(draw, grid.num_random), workers, display, search=search)
        with num_threads(job.threads):
            rows = train_random_baseline(
                draw,
                comparable_training(search, job, data),
                run=run,
                num=grid.num_random,
                display=display,
            )
    return [measured_values(row) for row in rows]


@contextmanager
def only_process(folder: Path, display: Display) -> Iterator[bool]:
    """Whether no other process works on a folder; until the block ends, none will."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder, display.say))
        except FolderInUse as error:
            display.say(f"{error} Its result is left to that process.")
            yield False
            return
        yield True
