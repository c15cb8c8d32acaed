"""The learning rate of the alphas that fits the number of steps, so that a short search is decided, too."""

from __future__ import annotations

from dataclasses import replace

from dnas.data import Catalog
from dnas.jobs.job import Job
from dnas.jobs.planning.counts import num_batches, search_counts
from dnas.jobs.planning.ladder import images_to_search_with
from dnas.method.discretization.rehearsal import Rehearsal

# The reach of a search is its alphas' learning rate times the steps in which they move: how far Adam carries an alpha
# whose gradient keeps its sign. DARTS's published search has 3e-4 x 50 x 391 = 5.9. Measured by `benchmarks/decided.py`
# (four choices of five on digits, 135 steps, three seeds): at a reach of 0.04 the strongest candidate weighs 1.01 times
# the second, at 6 it is 1.80; at 12 seeds agree less than at 6 with Dirichlet mixtures (0.42 against 0.83).
REACH = 6.0
# Faster alphas follow noise: at 45 steps a reach of 6 (0.13) made seeds agree less than one of 3 (0.25 against 0.58).
FASTEST = 0.05
# The warm-up and the method are not fitted: at 45 and 135 steps neither a warm-up of 20 to 60 % nor softmax mixtures
# were better than what `default` does (`benchmarks/warmup.py`, docs/choose.md).


def fitted_rate(rate: float, steps: int) -> float:
    """The learning rate of the alphas for a search in which they take so many steps.

    max(rate, min(REACH / steps, FASTEST))

    Example:
        >>> round(fitted_rate(3e-4, 135), 4), fitted_rate(3e-4, 20_000), fitted_rate(3e-4, 20), fitted_rate(0.1, 20)
        (0.0444, 0.0003, 0.05, 0.1)
    """
    return max(rate, min(REACH / max(steps, 1), FASTEST))


def alpha_steps(job: Job, catalog: Catalog) -> int:
    """The number of steps in which the alphas of a job with all sizes move."""
    assert job.batch_size is not None
    batches, evaluation_batches = num_batches(job, images_to_search_with(job, catalog), job.batch_size)
    settings = replace(job.search, stages=()) if job.search.stages else job.search
    counts = search_counts(
        settings,
        Rehearsal(),
        batches=batches,
        evaluation_batches=evaluation_batches,
        batch_size=job.batch_size,
    )
    return counts.steps


def with_fitted_rate(job: Job, catalog: Catalog) -> Job:
    """The job with the alphas' learning rate that fits its steps; the same if that is not larger than its own."""
    if job.finalists.alone or not job.search.relaxation.trains_alphas:
        return job
    alphas = job.search.alphas
    rate = fitted_rate(alphas.lr, alpha_steps(job, catalog))
    return job if rate == alphas.lr else replace(job, search=replace(job.search, alphas=replace(alphas, lr=rate)))


def said_of_rate(before: Job, after: Job, catalog: Catalog) -> str:
    """What was changed and why, in a sentence."""
    steps, rate = alpha_steps(after, catalog), after.search.alphas.lr
    return (
        f"Alphas: learning rate {rate:.2g} instead of {before.search.alphas.lr:.2g}, which would hardly move them in "
        f"{steps} steps (rate x steps is {rate * steps:.1f} now; --search.alphas.lr chooses another)."
    )
