"""Sizes, epochs and threads of a search that fit the data, the time and the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.data import Catalog
from dnas.finalists.settings import FinalistSettings
from dnas.jobs.job import Job, job_of_stage
from dnas.jobs.planning.counts import Counts, num_batches, search_counts, with_finalists
from dnas.jobs.planning.fit import Limits, Measure, Measured, Sizes, largest_that_fits
from dnas.jobs.planning.ladder import (
    USUAL_BATCH,
    images_in_half,
    images_to_search_with,
    ladder,
    leaves_a_choice,
    with_sizes_of_data,
)
from dnas.jobs.planning.measure import measure_search, reading_seconds
from dnas.jobs.planning.threads import choose_threads, on_threads
from dnas.jobs.planning.time_budget import (
    DEFAULT_TIME,
    MARGIN,
    MIN_EPOCHS,
    SEARCH_PLANNING,
    START_AND_END,
    THREADS_PLANNING,
    TooShort,
    enough_time,
    planning_seconds,
)
from dnas.jobs.planning.tried import decisions_of, finalists_tried
from dnas.method.discretization import Argmax
from dnas.method.discretization.rehearsal import rehearse
from dnas.searching.settings import SearchSettings
from dnas.system.errors import UserError
from dnas.system.memory import available_memory, gibibytes
from dnas.system.threads import num_threads, threads_that_help
from dnas.system.words import readable_time, seconds_in

# The largest of so many random networks is measured for finalists.
_DRAWN = 4


@dataclass(frozen=True)
class Plan:
    """A job with all sizes, and the time and memory that its search will take.

    Args:
        job: the job with all sizes.
        seconds: duration from now to the end of the search, with a margin for a busy machine.
        memory: bytes at the peak, of the GPU's tensors or, on a CPU, of the process.
        reading: seconds for reading the images, a part of `seconds`.
        step: seconds of one step.
        discretizing: seconds in which the discretization evaluates and trains, a part of `seconds`.
        finalists: seconds in which finalists are trained and judged, a part of `seconds`.
    """

    job: Job
    seconds: float
    memory: int
    reading: float
    step: float
    discretizing: float = 0.0
    finalists: float = 0.0

    def __str__(self) -> str:
        job = self.job
        parts = (
            (self.reading, "to read images"),
            (self.discretizing, "to discretize"),
            (self.finalists, f"for {job.finalists.num} finalists"),
        )
        said = ", ".join(f"{readable_time(taken)} {why}" for taken, why in parts if taken >= 2)
        stages = f" in {len(job.search.stages)} stages" if job.search.stages else ""
        place = "" if job.model is None else f" in {job.model}"
        network = f"{job.channels} channels, {job.cells} cells, " if job.model is None else ""
        images = f"images {job.image_size}x{job.image_size}, " if job.image_size else ""
        length = "no supernet" if job.finalists.alone else f"{job.search.epochs} epochs{stages}"
        return (
            f"Search{place}: {images}batch {job.batch_size}, {network}"
            f"{length}{on_threads(job.threads)}: about "
            f"{readable_time(self.seconds)}{f' ({said})' if said else ''}, {gibibytes(self.memory)} of memory."
        )


def plan(job: Job, catalog: Catalog, device: torch.device) -> Plan:
    """Choose the sizes and the threads that a job leaves out, by measuring steps on this machine.

    Raises:
        UserError: nothing fits the time or the memory, sizes of a search in stages are missing, or an image cannot be
            read.
    """
    check_no_choice_with_stages(job)
    planning = planning_seconds(job.time)
    size = job.image_size or catalog.default_size
    reading = reading_seconds(catalog, size, patience=planning / 10, skip_unreadable=job.skip_unreadable)

    @cache
    def drawn(image_size: int) -> list[Architecture]:
        return finalists_tried(replace(job, image_size=image_size), catalog.kind(image_size), _DRAWN)

    def measure_of(job: Job) -> Measure:
        def measure(sizes: Sizes) -> Measured:
            finalists = drawn(sizes.image_size) if job.finalists.num else ()
            kind = catalog.kind(sizes.image_size)
            return measure_search(job, sizes, kind, device=device, finalists=finalists)

        return measure

    with num_threads(job.threads or (threads_that_help() if device.type == "cpu" else None)):
        found = plan_stages(
            job, catalog, measure_of, reading=reading, available=available_memory(device), planning=planning
        )
        if device.type == "cpu" and job.threads is None:
            first = jobs_of_stages(found.job)[0]
            threads = choose_threads(
                measure_of(first), Sizes.of(first), found.step, patience=THREADS_PLANNING * planning
            )
            found = replace(found, job=replace(found.job, threads=threads))
    return found


def plan_stages(
    job: Job,
    catalog: Catalog,
    measure_of: Callable[[Job], Measure],
    *,
    reading: float,
    available: int,
    planning: float,
) -> Plan:
    """`plan_sizes` for each stage: the sum of their seconds, the largest of their memories and of their steps.

    A later stage really takes less, since candidates that are ruled out before it are counted here.

    Args:
        job, catalog, reading, available, planning: as in `plan_sizes`.
        measure_of: gives the function that measures the steps of a stage.
    """
    jobs = jobs_of_stages(job)
    plans = [
        plan_sizes(one, catalog, measure_of(one), reading=reading, available=available, planning=planning / len(jobs))
        for one in jobs
    ]
    if not job.search.stages:
        return plans[0]
    once = (len(plans) - 1) * (START_AND_END + MARGIN * reading)
    return Plan(
        with_sizes_of_data(job, catalog),
        sum(one.seconds for one in plans) - once,
        max(one.memory for one in plans),
        reading,
        max(one.step for one in plans),
        plans[-1].discretizing,
        plans[-1].finalists,
    )


def plan_sizes(
    job: Job, catalog: Catalog, measure: Measure, *, reading: float, available: int, planning: float
) -> Plan:
    """Fill in the sizes that a job leaves out.

    It takes the largest supernet and images that fit into `job.time`, which by default is 30min. If not even the
    smallest fit with all epochs, epochs are left out, down to 10, and where not even those fit, a step takes more
    images. Sizes that the job gives stay. The time covers the
    whole command: start, planning, reading and search.

    Args:
        job: the job as the user gave it.
        catalog: number and size of the images.
        measure: measures a step of the job at given sizes.
        reading: seconds that reading the images will take.
        available: bytes of memory that may be used.
        planning: seconds that measuring may take.

    Raises:
        UserError: not even the smallest sizes fit the time or the memory.
    """
    if leaves_a_choice(job):
        job = replace(job, time=job.time or DEFAULT_TIME)

    def planned(job: Job) -> Plan:
        return _planned(job, catalog, measure, reading=reading, available=available, planning=planning)

    try:
        return planned(job)
    except TooShort:
        largest = min(USUAL_BATCH, images_in_half(job, catalog))
        if job.batch_size is not None or largest == with_sizes_of_data(job, catalog).batch_size:
            raise
        # A step of few images takes nearly as long as one of many, so fewer and larger steps may fit.
        return planned(replace(job, batch_size=largest))


def _planned(job: Job, catalog: Catalog, measure: Measure, *, reading: float, available: int, planning: float) -> Plan:
    """`plan_sizes` with the batch size of the job, or that of the data."""
    budget = math.inf if job.time is None else seconds_in(job.time) - planning
    decisions = decisions_of(job, catalog.kind(job.image_size))
    work = _Work(job, decisions, images_to_search_with(job, catalog), fixed=START_AND_END + MARGIN * reading)

    def needed(sizes: Sizes, measured: Measured) -> tuple[float, int]:
        # All samples and a copy of each half: a byte for each value of an image, four for others.
        kind = catalog.kind(sizes.image_size)
        each = math.prod(kind.shape) * (1 if kind.inputs == "pixels" else 4)
        images = 2 * each * (catalog.num_train + catalog.num_test)
        return work.seconds(job.search, sizes.batch_size, measured), measured.memory + images

    limits = Limits(budget, available, SEARCH_PLANNING * planning)
    sizes, measured = largest_that_fits(ladder(job, catalog), measure, needed, limits)
    duration, memory = needed(sizes, measured)
    job = sizes.given_to(job)
    if duration > budget:
        job, duration = _shortened(job, work, measured, budget)
        work = work.of(job)
    discretizing = work.discretizing(sizes.batch_size, measured)
    finalists = work.judging_finalists(sizes.batch_size, measured)
    return Plan(job, duration, memory, reading, measured.step, discretizing, finalists)


class _Work:
    """How long a search takes, from measurements at given sizes.

    Args:
        job: the job, for its method; its own sizes do not matter.
        decisions: of its supernet.
        num_images: number of images that the search may use.
        fixed: seconds besides steps, evaluations and ends of epochs.
    """

    def __init__(self, job: Job, decisions: Mapping[str, Decision], num_images: int, *, fixed: float):
        self._job, self._decisions, self._num_images, self._fixed = job, decisions, num_images, fixed
        self.rehearsal = rehearse(job.search.discretization, decisions)

    def of(self, job: Job) -> _Work:
        """The same for a job that differs in its epochs and finalists."""
        return _Work(job, self._decisions, self._num_images, fixed=self._fixed)

    def seconds(self, search: SearchSettings, batch_size: int, measured: Measured) -> float:
        """Seconds of the whole command with these settings of the search."""
        return self._fixed + MARGIN * self._counts(search, batch_size).seconds(measured)

    def discretizing(self, batch_size: int, measured: Measured) -> float:
        """Seconds of it that the discretization spends on evaluation and training."""
        return MARGIN * self._counts(self._job.search, batch_size).discretization_seconds(measured)

    def judging_finalists(self, batch_size: int, measured: Measured) -> float:
        """Seconds of it in which finalists are trained and judged."""
        return MARGIN * self._counts(self._job.search, batch_size).finalist_seconds(measured)

    def _counts(self, search: SearchSettings, batch_size: int) -> Counts:
        batches, evaluation_batches = num_batches(self._job, self._num_images, batch_size)
        counts = Counts(steps=0, weight_steps=0, epochs=0, evaluations=0)
        if not self._job.finalists.alone:
            counts = search_counts(
                search, self.rehearsal, batches=batches, evaluation_batches=evaluation_batches, batch_size=batch_size
            )
        return with_finalists(counts, self._job.finalists, num_images=self._num_images, batch_size=batch_size)


def _shortened(job: Job, work: _Work, measured: Measured, budget: float) -> tuple[Job, float]:
    """The job with as many epochs as fit, and the seconds that it then takes; fewer finalists where the fewest do not.

    Raises:
        UserError: not even the fewest epochs fit with two finalists, or without any if none are asked for; it says
            how much time those need.
    """
    for num in range(job.finalists.num, 1, -1):
        fewer = replace(job, finalists=replace(job.finalists, num=num))
        try:
            search, duration = _with_fewer_epochs(fewer, work.of(fewer), measured, budget)
            return replace(fewer, search=search), duration
        except TooShort:
            continue
    if job.finalists.num:
        job = replace(job, finalists=replace(job.finalists, num=2))
        work = work.of(job)
    search, duration = _with_fewer_epochs(job, work, measured, budget)
    return replace(job, search=search), duration


def _with_fewer_epochs(job: Job, work: _Work, measured: Measured, budget: float) -> tuple[SearchSettings, float]:
    """The settings of the search with as many epochs as fit, and the seconds that it then takes.

    Raises:
        UserError: not even the fewest epochs fit.
    """
    assert job.batch_size is not None
    least = min(MIN_EPOCHS, job.search.epochs)
    needed = 0.0
    for epochs in range(job.search.epochs, least - 1, -1):
        warmup = min(job.search.warmup_epochs * epochs // job.search.epochs, epochs // 2)
        search = replace(job.search, epochs=epochs, warmup_epochs=warmup)
        needed = work.seconds(search, job.batch_size, measured)
        if needed <= budget:
            return search, needed
    enough = enough_time(needed)
    network = f", {job.channels} channels and {job.cells} cells" if job.model is None else ""
    images = f"images of {job.image_size} pixels, " if job.image_size else ""
    parts = [] if job.finalists.alone else [f"{least} epochs"]
    parts += [f"{job.finalists.num} finalists"] if job.finalists.num else []
    shortest = " and ".join(parts)
    raise TooShort(
        f"{job.time} is too short: the search needs --time {enough} for {shortest} with {images}"
        f"batch {job.batch_size}{network}. Give that, "
        "or lower sizes that you gave, or use fewer images."
        + _what_the_discretization_takes(job, work, measured)
        + _what_the_finalists_take(job, work, measured),
        enough,
    )


def _what_the_discretization_takes(job: Job, work: _Work, measured: Measured) -> str:
    """A sentence on the time that the discretization takes and how to shorten it; empty if it takes none."""
    rehearsal = work.rehearsal
    assert job.batch_size is not None
    asked = [f"{rehearsal.num_evaluations} evaluations"] if rehearsal.num_evaluations else []
    asked += [f"{rehearsal.num_epochs} epochs of training"] if rehearsal.num_epochs else []
    if not asked:
        return ""
    return (
        f" {readable_time(work.discretizing(job.batch_size, measured))} of it are for {' and '.join(asked)} by "
        f"{type(job.search.discretization).__name__}: its settings and --supernet_images shorten that."
    )


def _what_the_finalists_take(job: Job, work: _Work, measured: Measured) -> str:
    """A sentence on the time of the finalists and how to shorten it; empty where there are none."""
    assert job.batch_size is not None
    if not job.finalists.num:
        return ""
    taken = readable_time(work.judging_finalists(job.batch_size, measured))
    return f" {taken} of it are for finalists: --finalists and --finalists.epochs lower that."


def check_no_choice_with_stages(job: Job) -> None:
    """Check that a search in stages gives its sizes, since they are not chosen by the time that they take.

    Raises:
        UserError: the job gives a time, or lacks channels or cells.
    """
    if job.search.stages and leaves_a_choice(job):
        raise UserError(
            "The sizes of a search in stages are not chosen by time: leave out --time, give --channels and --cells (of "
            "the first stage), and shorten it by --search.epochs, which counts all stages."
        )


def jobs_of_stages(job: Job) -> list[Job]:
    """One job for each stage of the search, or the job itself if it has no stages.

    Only the last stage ends in an architecture, so only its discretization may evaluate and train.
    """
    *before, last = [job_of_stage(job, stage) for stage in job.search.stages] or [job]
    return [*map(_without_discretization, before), last]


def _without_discretization(job: Job) -> Job:
    job = replace(job, finalists=FinalistSettings())  # which come after the last stage
    if not job.search.discretization.needs_training:
        return job
    return replace(job, search=replace(job.search, discretization=Argmax()))
