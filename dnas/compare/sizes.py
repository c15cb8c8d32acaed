"""The sizes that nobody gave, chosen once for all recipes and runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dnas.compare.grid import Grid
from dnas.core.run import Run
from dnas.jobs.job import SIZES, Job
from dnas.jobs.job_data import open_data
from dnas.jobs.planning.ladder import images_in_half
from dnas.jobs.planning.search_plan import plan
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.errors import UserError


def settled(grid: Grid, display: Display) -> dict[str, Job]:
    """The jobs with all sizes; those that nobody gave are chosen once for all recipes and runs.

    Raises:
        UserError: a batch is larger than the data, or the file of sizes is damaged.
    """
    path = grid.out / "sizes.json"
    if not path.exists():
        chosen = _choose_sizes(grid, display)
        with grid.writing(display):
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
    """Sizes and threads for all recipes; those that the first recipe leaves out are planned by measuring it."""
    recipe, job = next(iter(grid.jobs.items()))
    catalog = open_data(job)
    half = images_in_half(job, catalog)
    for name, other in grid.jobs.items():
        if (other.batch_size or 0) > half:
            raise UserError(
                f"batch_size {other.batch_size} of {name} is more than the {half} samples in each half of the data; "
                "give a smaller --batch_size."
            )
    if job.missing_sizes or job.threads is None:
        display.say(f"Data: {catalog.name}. Measuring this machine ...")
        chosen = plan(job, catalog, named_device(job.device))
        display.say(f"Of {recipe}, each seed: {chosen}")
        job = chosen.job
    return {name: getattr(job, name) for name in (*SIZES, "threads")}
