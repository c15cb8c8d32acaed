"""Sizes and epochs for a search and a retraining that fit the data, the time and the memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from dnas.data import Catalog
from dnas.jobs.job import Job, job_of_stage
from dnas.jobs.planning.counts import END_OF_EPOCH, Counts, num_batches, search_counts
from dnas.jobs.planning.fit import STEPS_MEASURED, Limits, Measure, Measured, Sizes, largest_that_fits
from dnas.jobs.planning.measure import measure_search, reading_seconds
from dnas.method.discretization import Argmax
from dnas.method.discretization.rehearsal import rehearse
from dnas.searching.settings import SearchSettings
from dnas.system.errors import UserError
from dnas.system.memory import available_memory, gibibytes
from dnas.system.threads import fewest_threads, num_threads, threads_that_help
from dnas.system.words import number_of, readable_time, seconds_in
from dnas.training.retrain import RetrainSettings

DEFAULT_TIME = "30min"
# Supernets from large to small: (image size, channels, cells), each step smaller in one of them. The first has the
# channels and cells of the paper. A ladder is tried from the top; what a user says replaces an entry all along.
LADDER = (
    *((64, 16, 8), (64, 16, 5), (48, 16, 5), (48, 12, 5), (32, 12, 5), (32, 8, 5)),
    *((32, 8, 3), (24, 8, 3), (24, 4, 3), (16, 4, 3)),
)
# Networks to retrain from large to small, after the one asked for: (channels, cells).
RETRAINED = ((36, 14), (24, 14), (16, 14), (16, 8), (12, 8), (8, 5))
# Fewer epochs leave a search undecided, and a retraining unfinished; a smaller network that gets so many is better.
MIN_EPOCHS = 10
GOOD_EPOCHS = 60

# What is promised is so much more than what was measured on a machine that may have been idle.
MARGIN = 1.25
# Seconds of a command besides reading, steps and evaluation: the interpreter, imports, building, writing results.
START_AND_END = 6.0
# Measuring may take this share of the time given, at most so many seconds.
PLANNING_SHARE, PLANNING_SECONDS = 0.1, 20.0
# Of that, for the sizes of the search and for its threads; the rest is for what is said about the retraining.
SEARCH_PLANNING, THREADS_PLANNING, OUTLOOK_PLANNING = 0.5, 0.2, 0.3


def planning_seconds(time: str | None) -> float:
    """How long measuring may take where so much time is given for all, in seconds."""
    return PLANNING_SECONDS if time is None else min(PLANNING_SHARE * seconds_in(time), PLANNING_SECONDS)


# The search


@dataclass(frozen=True)
class Plan:
    """A job with all sizes, and what it will take.

    Args:
        job: what is to be done.
        seconds: from here to the end of the search, with room for a busy machine.
        memory: bytes at the peak, of the process or of the device where it is a GPU.
        reading: seconds of it in which images are read.
        step: seconds of one step.
        discretizing: seconds of it in which the discretization evaluates and trains.
    """

    job: Job
    seconds: float
    memory: int
    reading: float
    step: float
    discretizing: float = 0.0

    def __str__(self) -> str:
        job = self.job
        parts = ((self.reading, "to read images"), (self.discretizing, "to discretize"))
        said = ", ".join(f"{readable_time(taken)} {why}" for taken, why in parts if taken >= 2)
        stages = f" in {len(job.search.stages)} stages" if job.search.stages else ""
        return (
            f"Search: images {job.image_size}x{job.image_size}, batch {job.batch_size}, {job.channels} channels, "
            f"{job.cells} cells, {job.search.epochs} epochs{stages}{on_threads(job.threads)}: about "
            f"{readable_time(self.seconds)}{f' ({said})' if said else ''}, {gibibytes(self.memory)} of memory."
        )


def plan(job: Job, catalog: Catalog, device: torch.device) -> Plan:
    """`plan_sizes` by measurements on this machine.

    Raises:
        UserError: as there, or an image cannot be read.
    """
    check_no_choice_with_stages(job)
    planning = planning_seconds(job.time)
    reading = reading_seconds(catalog, job.image_size or catalog.default_size, patience=planning / 10)

    def measure_of(job: Job) -> Measure:
        return lambda sizes: measure_search(job, sizes, num_classes=len(catalog.class_names), device=device)

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


def check_no_choice_with_stages(job: Job) -> None:
    """See that a search in stages leaves no size to be chosen by the time it takes.

    Raises:
        UserError: a time is given, or channels or cells are missing.
    """
    if job.search.stages and leaves_a_choice(job):
        raise UserError(
            "The sizes of a search in stages are not chosen by time: leave out --time, give --channels and --cells (of "
            "the first stage), and shorten it by --search.epochs, which counts all stages."
        )


def jobs_of_stages(job: Job) -> list[Job]:
    """One job for each stage of the search; the job itself where it has none.

    Only the last one ends in an architecture, for which it may evaluate and train.
    """
    *before, last = [job_of_stage(job, stage) for stage in job.search.stages] or [job]
    return [*map(_without_discretization, before), last]


def _without_discretization(job: Job) -> Job:
    if not job.search.discretization.needs_training:
        return job
    return replace(job, search=replace(job.search, discretization=Argmax()))


def plan_stages(
    job: Job,
    catalog: Catalog,
    measure_of: Callable[[Job], Measure],
    *,
    reading: float,
    available: int,
    planning: float,
) -> Plan:
    """`plan_sizes` for each stage: their seconds are added up, the memory is that of the largest, and so is the step.

    Candidates that a later stage will have ruled out are counted, so it will take less.

    Args:
        job, catalog, reading, available, planning: as there.
        measure_of: gives what measures the steps of a stage.
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
    )


def choose_threads(measure: Measure, sizes: Sizes, step: float, *, patience: float) -> int:
    """The fewest threads that are as fast as those that PyTorch works with now; these, where trying takes too long.

    Args:
        measure: what a step takes.
        sizes: to measure at.
        step: seconds of a step with all threads.
        patience: seconds for trying.
    """
    most = torch.get_num_threads()
    if most == 1 or 2 * STEPS_MEASURED * step > patience:
        return most
    return fewest_threads(lambda: measure(sizes).step, most=most)


def plan_sizes(
    job: Job, catalog: Catalog, measure: Measure, *, reading: float, available: int, planning: float
) -> Plan:
    """Fill in the sizes that a job leaves out.

    The largest supernet and image size that fit `job.time` (30min where nothing is said) are taken; where the smallest
    does not fit with all epochs, epochs are left out, down to 10. Sizes that are given stay. The time covers the whole
    command: start, planning, reading, search.

    Args:
        job: what is asked for.
        catalog: of the data.
        measure: what a step of the job takes at some sizes.
        reading: seconds that reading the images will take.
        available: bytes of memory that may be used.
        planning: seconds for measuring, at most.

    Raises:
        UserError: not even the smallest fits the time or the memory.
    """
    if leaves_a_choice(job):
        job = replace(job, time=job.time or DEFAULT_TIME)
    budget = math.inf if job.time is None else seconds_in(job.time) - planning
    work = _Work(job, images_to_search_with(job, catalog), fixed=START_AND_END + MARGIN * reading)

    def needed(sizes: Sizes, measured: Measured) -> tuple[float, int]:
        # All images, and a copy of each half.
        images = 2 * 3 * sizes.image_size**2 * (catalog.num_train + catalog.num_test)
        return work.seconds(job.search, sizes.batch_size, measured), measured.memory + images

    limits = Limits(budget, available, SEARCH_PLANNING * planning)
    sizes, measured = largest_that_fits(ladder(job, catalog), measure, needed, limits)
    duration, memory = needed(sizes, measured)
    job = replace(job, **sizes._asdict())
    if duration > budget:
        search, duration = _with_fewer_epochs(job, work, measured, budget)
        job = replace(job, search=search)
    return Plan(job, duration, memory, reading, measured.step, work.discretizing(sizes.batch_size, measured))


class _Work:
    """What a search takes by measurements at some sizes.

    Args:
        job: with the method; its own sizes do not matter.
        num_images: that the search may use.
        fixed: seconds besides what is counted.
    """

    def __init__(self, job: Job, num_images: int, *, fixed: float):
        self._job, self._num_images, self._fixed = job, num_images, fixed
        self.rehearsal = rehearse(job.search.discretization, job.space.decisions())

    def seconds(self, search: SearchSettings, batch_size: int, measured: Measured) -> float:
        """Of the whole command with these settings of the search."""
        return self._fixed + MARGIN * self._counts(search, batch_size).seconds(measured)

    def discretizing(self, batch_size: int, measured: Measured) -> float:
        """Of that, for what the discretization asks for."""
        return MARGIN * self._counts(self._job.search, batch_size).discretization_seconds(measured)

    def _counts(self, search: SearchSettings, batch_size: int) -> Counts:
        batches, evaluation_batches = num_batches(self._job, self._num_images, batch_size)
        return search_counts(search, self.rehearsal, batches=batches, evaluation_batches=evaluation_batches)


def leaves_a_choice(job: Job) -> bool:
    """Whether sizes of the job are to be chosen by the time they take."""
    return job.time is not None or None in (job.channels, job.cells)


def with_sizes_of_data(job: Job, catalog: Catalog) -> Job:
    """The job with batch and image size, which the data suggest where they are left out."""
    half = images_in_half(job, catalog)
    # 64 as in DARTS; for small data at least eight steps per epoch, but no fewer than 8 images in one.
    batch_size = job.batch_size or min(64, max(8, half // 8))
    return replace(job, batch_size=min(batch_size, half), image_size=job.image_size or catalog.default_size)


def images_in_half(job: Job, catalog: Catalog) -> int:
    """Images that an epoch of the weights passes over: half of those left after the test part is set aside.

    With one level all of them.
    """
    return max(images_to_search_with(job, catalog) // (1 if job.search.one_level else 2), 1)


def images_to_search_with(job: Job, catalog: Catalog) -> int:
    """Images that are left after the test part is set aside, of both halves together."""
    return catalog.num_train - (0 if catalog.num_test else math.ceil(job.test_fraction * catalog.num_train))


def ladder(job: Job, catalog: Catalog) -> list[Sizes]:
    """Sizes for a job from large to small; one where nothing is to be chosen.

    What is given stays all along, and no image is made larger than it is.
    """
    full = with_sizes_of_data(job, catalog)
    assert full.batch_size is not None
    found = {
        Sizes(
            job.image_size or min(image_size, catalog.default_size),
            full.batch_size,
            job.channels or channels,
            job.cells or cells,
        ): None
        for image_size, channels, cells in LADDER
    }
    return list(found) if leaves_a_choice(job) else list(found)[:1]


def _with_fewer_epochs(job: Job, work: _Work, measured: Measured, budget: float) -> tuple[SearchSettings, float]:
    """The settings of the search with as many epochs as fit, and its seconds."""
    assert job.batch_size is not None
    least = min(MIN_EPOCHS, job.search.epochs)
    needed = 0.0
    for epochs in range(job.search.epochs, least - 1, -1):
        search = replace(job.search, epochs=epochs, warmup_epochs=min(job.search.warmup_epochs, epochs // 2))
        needed = work.seconds(search, job.batch_size, measured)
        if needed <= budget:
            return search, needed
    raise UserError(
        f"{job.time} is too short: the search needs --time {enough_time(needed)} for {least} epochs "
        f"with images of {job.image_size} pixels, {job.channels} channels and {job.cells} cells. Give that, or "
        f"lower sizes that you gave, or use fewer images.{_what_the_discretization_takes(job, work, measured)}"
    )


def _what_the_discretization_takes(job: Job, work: _Work, measured: Measured) -> str:
    """What is long besides the epochs, and what makes it shorter; empty where nothing is."""
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


# Retraining


@dataclass(frozen=True)
class RetrainPlan:
    """Settings of a retraining that fit, and what it will take, as in `Plan`."""

    settings: RetrainSettings
    seconds: float
    memory: int
    step: float

    def __str__(self) -> str:
        settings = self.settings
        return (
            f"{settings.channels} channels, {settings.cells} cells, {settings.epochs} epochs: "
            f"about {readable_time(self.seconds)}, {gibibytes(self.memory)} of memory"
        )


def plan_retraining(
    settings: RetrainSettings,
    measure: Measure,
    *,
    time: str | None,
    image_size: int,
    num_images: int,
    num_held_out: int,
    available: int,
    planning: float,
) -> RetrainPlan:
    """The largest network, and the most epochs up to those asked for, whose training fits.

    Args:
        settings: what is asked for.
        measure: what a step of training takes at some sizes.
        time: how long it may take, such as 30min; None for any time: then nothing is lowered.
        image_size: in pixels.
        num_images: in one epoch of training.
        num_held_out: images that are evaluated after each epoch.
        available: bytes of memory that may be used.
        planning: seconds for measuring, at most.

    Raises:
        UserError: not even the smallest network fits for ten epochs, or the memory does not hold it.
    """
    batch_size = min(settings.batch_size, num_images)
    asked = Sizes(image_size, batch_size, settings.channels, settings.cells)
    smaller = [
        asked._replace(channels=channels, cells=min(cells, settings.cells))
        for channels, cells in RETRAINED
        if channels <= settings.channels
    ]
    sizes_of = list(dict.fromkeys([asked, *smaller])) if time is not None else [asked]
    budget = math.inf if time is None else seconds_in(time) - planning_seconds(time)

    def epoch(measured: Measured) -> float:
        steps, evaluations = math.ceil(num_images / batch_size), math.ceil(num_held_out / batch_size)
        return MARGIN * (steps * measured.step + evaluations * measured.evaluation + END_OF_EPOCH)

    def needed(sizes: Sizes, measured: Measured) -> tuple[float, int]:
        images = 2 * 3 * image_size**2 * (num_images + num_held_out)
        return START_AND_END + min(settings.epochs, GOOD_EPOCHS) * epoch(measured), measured.memory + images

    sizes, measured = largest_that_fits(sizes_of, measure, needed, Limits(budget, available, planning))
    epochs = int(min(settings.epochs, (budget - START_AND_END) / epoch(measured)))
    least = min(settings.epochs, MIN_EPOCHS)
    if epochs < least:
        raise UserError(
            f"{time} is too short: retraining needs --time {enough_time(START_AND_END + least * epoch(measured))} for "
            f"{least} epochs with {sizes.channels} channels and {sizes.cells} cells."
        )
    chosen = replace(settings, channels=sizes.channels, cells=sizes.cells, epochs=epochs)
    return RetrainPlan(chosen, START_AND_END + epochs * epoch(measured), needed(sizes, measured)[1], measured.step)


def enough_time(needed: float) -> str:
    """What to give as --time where the work, without planning, needs so many seconds."""
    whole = min(needed / (1 - PLANNING_SHARE), needed + PLANNING_SECONDS)
    return f"{math.ceil(whole)}s" if whole < 120 else f"{math.ceil(whole / 60)}min"


def on_threads(count: int | None) -> str:
    """', 2 threads', or nothing where that is left to PyTorch."""
    return "" if count is None else f", {number_of(count, 'thread')}"
