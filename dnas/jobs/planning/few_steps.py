"""A search that has time for few steps trains no supernet: short trainings of single networks find better ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from dnas.data import Catalog
from dnas.finalists.settings import FEW_STEPS
from dnas.jobs.job import Job
from dnas.jobs.planning.rate import alpha_steps
from dnas.jobs.planning.search_plan import Plan
from dnas.jobs.planning.time_budget import DEFAULT_TIME, TooShort
from dnas.system.words import seconds_in

# Measured by `benchmarks/digits.py --free` and in docs/results.md: after 140 steps a supernet is behind random search
# with halving at equal compute on ten of ten seeds, after 632 it is ahead on three of three.
FEWEST = 300


def plan_by_steps(job: Job, catalog: Catalog, plan: Callable[[Job], Plan]) -> tuple[Plan, str | None]:
    """The plan of a job, and why it has no supernet if that would take fewer than `FEWEST` steps; else None.

    Where not even two finalists fit, the supernet stays.

    Args:
        job: the job as the user gave it, with nothing of finalists.
        catalog: number and size of the images.
        plan: chooses the sizes of a job by measuring.

    Raises:
        UserError: as `plan` does for the supernet, where finalists alone do not fit either.
    """
    began = time.monotonic()
    try:
        supernet = plan(job)
    except TooShort as too_short:
        supernet, mistake = None, too_short
        why = "There is no time for a supernet, but for short trainings of single networks"
    else:
        mistake, steps = None, alpha_steps(supernet.job, catalog)
        if steps >= FEWEST:
            return supernet, None
        why = f"A supernet would take {steps} steps, which tell networks apart less than short trainings of single ones"
    given = job.time or DEFAULT_TIME
    left = f"{max(seconds_in(given) - (time.monotonic() - began), 1):.0f}s"
    try:
        alone = plan(replace(job, time=left, finalists=FEW_STEPS))
    except TooShort as error:
        if mistake is not None:  # finalists need the least
            raise TooShort(given + str(error).removeprefix(left), error.enough) from None
        assert supernet is not None
        return supernet, None
    said = f"{why}: the best of them is taken (--finalists 0: a supernet)."
    return replace(alone, job=replace(alone.job, time=given)), said
