"""The finalists of a job's search: who proposes them, and the data that train and judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.derive import derive
from dnas.core.run import Run
from dnas.cost.bounds import Bounds
from dnas.finalists.contest import Ahead, Conditions
from dnas.finalists.halving import successive_halving
from dnas.finalists.of_search import known_of, with_finalist
from dnas.finalists.proposals import Known, Possible, Proposals
from dnas.finalists.same_function import SeenFunctions
from dnas.finalists.settings import FinalistSettings
from dnas.jobs.budget import delivered_network, random_architectures, stamped
from dnas.jobs.images import JobData, finalist_streams
from dnas.jobs.job import Job
from dnas.jobs.networks import found_network
from dnas.jobs.own_model import own_fresh_model
from dnas.searching.result import SearchResult
from dnas.system.devices import named_device
from dnas.system.display import Display
from dnas.system.threads import num_threads
from dnas.task.base import Task
from dnas.task.classification import Classification

# Classes whose largest has this many times the images of the smallest are judged by balanced accuracy.
UNBALANCED = 5


def choose_finalist(
    run: Run,
    job: Job,
    data: JobData,
    result: SearchResult,
    bounds: Bounds | None,
    display: Display,
    ahead: Ahead | None = None,
) -> SearchResult:
    """Train finalists after a search and take the best one as the run's result, in RUN/finalists and architecture.json.

    A call that was stopped goes on when it is repeated.

    Args:
        run: folder of the search.
        job: the job with all sizes.
        data: its images.
        result: what the search ends with.
        bounds: those of the job's budget; None without one.
        display: shows progress and messages.
        ahead: trains those of a rung at the same time; None where this process trains all of them.

    Raises:
        UserError, Interrupted: as `successive_halving`.
    """
    known = None if job.finalists.alone else known_of(run, result, job.search.relaxation)
    conditions = conditions_of(run, job, data, display, model=searched_model(job, result))
    with num_threads(job.threads):
        proposals = proposals_of(run, job, data, conditions, known, bounds)
        outcome = successive_halving(proposals, conditions, run=run, display=display, ahead=ahead)
    display.say(str(outcome))
    return with_finalist(run, result, outcome)


def searched_model(job: Job, result: SearchResult) -> nn.Module | None:
    """The model whose weights the finalists begin with; None for new weights."""
    return result.supernet.model if job.finalists.begin_with == "searched" else None


def conditions_of(run: Run, job: Job, data: JobData, display: Display, *, model: nn.Module | None = None) -> Conditions:
    """What the finalists of a job share.

    Args:
        run: folder of the search, which keeps the weights that a user's own module came with.
        job: the job with all sizes.
        data: its images.
        display: is told by which metric they are judged, where that is not the task's own.
        model: the searched model whose weights they begin with; None for new weights.
    """
    device = named_device(job.device)
    settings = seeded_finalists(job)
    train, judging = finalist_streams(job, data, device)
    fresh = _fresh_networks(run, job, data)
    make = fresh if model is None else partial(derive, model)
    return Conditions(
        build=lambda architecture: make(architecture).to(device),
        fresh=fresh,
        train=train,
        judging=judging,
        task=_judging_task(job, data, display),
        settings=settings,
    )


def proposals_of(
    run: Run, job: Job, data: JobData, conditions: Conditions, known: Known | None, bounds: Bounds | None
) -> Proposals:
    """The proposals for a job's finalists; those of random search where nothing is known."""
    decisions = job.space.decisions() if job.model is None else delivered_network(job, data.kind).decisions
    possible = Possible(
        decisions=decisions,
        stamp=partial(stamped, job),
        fits=(lambda kept: True) if bounds is None else bounds.fits,
        random=random_architectures(job, run, data.kind),
        seen=SeenFunctions(conditions.fresh, conditions.batch),
    )
    return Proposals(possible, known, conditions.settings.seed)


def seeded_finalists(job: Job) -> FinalistSettings:
    """The settings of the finalists, with the job's seed added to theirs."""
    return replace(job.finalists, seed=job.seed + job.finalists.seed)


def _fresh_networks(run: Run, job: Job, data: JobData) -> Callable[[Architecture], nn.Module]:
    """Makes networks with new weights, of the sizes of the finalists."""
    if job.model is not None:
        return partial(derive, own_fresh_model(run, job, data.kind))
    assert job.channels is not None and job.cells is not None
    sizes = replace(
        job.retrain,
        channels=job.finalists.channels or job.channels,
        cells=job.finalists.cells or job.cells,
        auxiliary=False,
    )
    return partial(found_network, replace(job, retrain=sizes), data.kind)


def _judging_task(job: Job, data: JobData, display: Display) -> Task:
    """The job's task; for a classification that nobody named, judged by balanced accuracy where classes need it."""
    if job.task is not None:
        return job.task
    counts = torch.bincount(data.rest.strata, minlength=data.kind.num_outputs)
    if int(counts.max()) < UNBALANCED * int(counts.min()):
        return Classification()
    names = data.kind.names
    display.say(
        f"Note: class {names[int(counts.argmax())]!r} has {int(counts.max())} images and class "
        f"{names[int(counts.argmin())]!r} has {int(counts.min())}, so finalists are judged by balanced accuracy; "
        "--task dnas.Classification judges them by top-1."
    )
    return Classification(balanced=True)
