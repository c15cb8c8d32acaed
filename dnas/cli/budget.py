"""What `--budget` makes of a job, the same for every command that searches."""

from __future__ import annotations

from dataclasses import replace

from dnas.cli.arguments import Arguments
from dnas.cost.budget import Budget
from dnas.finalists.settings import WITHIN_BUDGET, FinalistSettings
from dnas.jobs.job import Job
from dnas.jobs.milliseconds import is_limited

FINALISTS_WORDS = (
    f"Budget: the best of {WITHIN_BUDGET.num} finalists is taken, the search's result and random networks "
    "(--finalists 0: the search's result)."
)


def with_budget(job: Job, budget: str | None) -> Job:
    """The job with the budget of the option; as it is without one.

    Raises:
        UserError: what is no limit.
    """
    if budget is None:
        return job
    limits, before = tuple(budget.split(",")), job.search.budget
    within = Budget(limits) if before is None else replace(before, limits=limits)
    return replace(job, search=replace(job.search, budget=within))


def with_finalists(job: Job, given: Arguments) -> Job:
    """The job with finalists, where it has a budget and nothing was said of finalists; as it is otherwise.

    Within a limit on milliseconds there are none, since only the search's own result is measured against it.
    """
    if job.search.budget is None or says_of_finalists(job, given) or is_limited(job):
        return job
    return replace(job, finalists=WITHIN_BUDGET)


def says_of_finalists(job: Job, given: Arguments) -> bool:
    """Whether the command line or a recipe says anything of finalists."""
    return job.finalists != FinalistSettings() or any(name.startswith("--finalists") for name in given.names)
