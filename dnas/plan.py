"""Sizes for a search that fit the data, the device and the time, and an estimate of what it will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from dnas.data import Catalog
from dnas.job import Job, seconds
from dnas.memory import peak_memory, reset_peak_memory
from dnas.peak import measured_seconds
from dnas.retrain import RetrainSettings
from dnas.trial import Trial, memory_of_small_batches

DEFAULT_TIME = "30min"
# Estimates come from a few steps on an idle machine; what is promised leaves room for the rest.
MARGIN = 1.25
# Supernets from large to small: (channels, cells). The first is the one of the paper.
NETWORKS = ((16, 8), (16, 5), (12, 5), (8, 5), (8, 3), (4, 3))
SIZES = (64, 48, 32, 24, 16)
MIN_EPOCHS = 10
# Networks to retrain from large to small, after the one asked for; fewer epochs than this would leave them unfinished.
RETRAINED = ((36, 14), (24, 14), (16, 14), (16, 8), (12, 8), (8, 5))
GOOD_EPOCHS = 60


@dataclass(frozen=True)
class Estimate:
    """What a search will take.

    Args:
        seconds: for all its epochs, with room for a busy machine.
        step_seconds: median time of one search step.
        memory: peak of the process, or of the device where it is a GPU, in bytes.
    """

    seconds: float
    step_seconds: float
    memory: int

    def __str__(self) -> str:
        return f"about {readable_time(self.seconds)}, {self.memory / 2**30:.1f} GiB of memory"


@dataclass(frozen=True)
class Plan:
    """A job with all sizes resolved, and what it will take."""

    job: Job
    estimate: Estimate

    def __str__(self) -> str:
        job = self.job
        return (
            f"Search: images {job.image_size}x{job.image_size}, batch {job.batch_size}, {job.channels} channels, "
            f"{job.cells} cells, {job.search.epochs} epochs: {self.estimate}."
        )


def plan(job: Job, catalog: Catalog, device: torch.device) -> Plan:
    """Fill in the sizes that a job leaves out.

    The largest supernet and image size whose measured steps fit `job.time` (30min where nothing is said) are taken;
    where the smallest does not fit with all epochs, epochs are left out, down to 10. Sizes that are given stay.

    Raises:
        ValueError: not even the smallest fits.
    """
    half = images_in_half(job, catalog)
    if not leaves_a_choice(job):
        job = with_sizes_of_data(job, catalog)
        return Plan(job, estimate(job, catalog, half, device))
    job = replace(job, batch_size=job.batch_size or _batch_size(half), time=job.time or DEFAULT_TIME)
    assert job.time is not None
    budget = seconds(job.time)
    steps = [_Measured(candidate, catalog, half, device) for candidate in _candidates(job, catalog)]
    # Predict from the smallest where to begin; then go down until a measurement fits.
    smallest = steps[-1].plan()
    begin = next(
        (i for i, step in enumerate(steps) if smallest.estimate.seconds * step.size / steps[-1].size <= budget),
        len(steps) - 1,
    )
    for step in steps[begin:-1]:
        chosen = step.plan()
        if chosen.estimate.seconds <= budget:
            return chosen
    epochs = int(job.search.epochs * budget / smallest.estimate.seconds)
    if epochs >= job.search.epochs:
        return smallest
    if epochs < min(MIN_EPOCHS, job.search.epochs):
        raise ValueError(f"{job.time} is too short: {smallest} Give --time more, or fewer --search.epochs.")
    shorter = replace(smallest.job.search, epochs=epochs, warmup_epochs=min(job.search.warmup_epochs, epochs // 2))
    shortened = replace(smallest.estimate, seconds=smallest.estimate.seconds * epochs / job.search.epochs)
    return Plan(replace(smallest.job, search=shorter), shortened)


def leaves_a_choice(job: Job) -> bool:
    """Whether sizes of the job are to be chosen by the time they take."""
    return job.time is not None or None in (job.channels, job.cells)


def with_sizes_of_data(job: Job, catalog: Catalog) -> Job:
    """The job with batch and image size, which the data suggest where they are left out."""
    batch_size = job.batch_size or _batch_size(images_in_half(job, catalog))
    return replace(job, batch_size=batch_size, image_size=job.image_size or catalog.default_size)


def images_in_half(job: Job, catalog: Catalog) -> int:
    """Images of each half of the training data, the weights' and the alphas', after the test part is set aside."""
    num_train = catalog.num_train - (0 if catalog.num_test else math.ceil(job.test_fraction * catalog.num_train))
    return max(num_train // 2, 1)


def _batch_size(half: int) -> int:
    """64 as in DARTS; for small data at least eight steps per epoch, but no fewer than 8 images in one."""
    return min(64, max(8, half // 8), half)


def _candidates(job: Job, catalog: Catalog) -> list[Job]:
    """Jobs with all sizes resolved, from expensive to cheap."""
    largest = catalog.default_size
    sizes = [job.image_size] if job.image_size else [largest, *(size for size in SIZES if size < largest)]
    networks = NETWORKS if job.channels is None or job.cells is None else ((job.channels, job.cells),)
    found = {
        (size, job.channels or channels, job.cells or cells): None for size in sizes for channels, cells in networks
    }
    jobs = [replace(job, image_size=size, channels=channels, cells=cells) for size, channels, cells in found]
    return sorted(jobs, key=_relative_cost, reverse=True)


def _relative_cost(job: Job) -> float:
    assert job.image_size and job.channels and job.cells
    return job.image_size**2 * job.channels**1.5 * job.cells


class _Measured:
    """A candidate, measured on first use."""

    def __init__(self, job: Job, catalog: Catalog, half: int, device: torch.device):
        self.job = job
        self.size = _relative_cost(job)
        self._catalog, self._half, self._device = catalog, half, device
        self._plan: Plan | None = None

    def plan(self) -> Plan:
        if self._plan is None:
            self._plan = Plan(self.job, estimate(self.job, self._catalog, self._half, self._device))
        return self._plan


def estimate(job: Job, catalog: Catalog, half: int, device: torch.device, *, repeats: int = 3) -> Estimate:
    """Measure a few steps of the search that a resolved job describes, on random images.

    Args:
        half: images in each half of the training data.
        repeats: steps that are timed, after one that is not.

    Raises:
        ValueError: the batch will not fit into memory; the message says which will.
    """
    assert job.batch_size is not None and job.image_size is not None

    def trial(batch_size: int) -> Trial:
        return Trial(job, num_classes=len(catalog.class_names), batch_size=batch_size, device=device)

    memory_of_small_batches(trial, job.batch_size, device)
    reset_peak_memory(device)
    whole = trial(job.batch_size)
    whole.step()  # not counted: memory is allocated and kernels are chosen
    step_seconds = sorted(measured_seconds(whole.step, device) for _ in range(repeats))[repeats // 2]
    batches = math.ceil(half / job.batch_size)
    epoch = batches * (step_seconds + measured_seconds(whole.evaluate, device))
    images = 3 * job.image_size**2 * (catalog.num_train + catalog.num_test)
    return Estimate(MARGIN * job.search.epochs * epoch, step_seconds, peak_memory(device) + images)


def plan_retraining(
    settings: RetrainSettings, budget: float, *, num_images: int, measure: Callable[[RetrainSettings], float]
) -> tuple[RetrainSettings, float]:
    """The largest network, and the most epochs up to those asked for, whose training takes at most `budget` seconds.

    Args:
        settings: what is wanted.
        num_images: in one epoch of training.
        measure: seconds of one training step under given settings.

    Returns:
        The settings that fit, and the seconds they will take with room for a busy machine.

    Raises:
        ValueError: not even the smallest network fits for ten epochs.
    """
    sizes = [(settings.channels, settings.cells), *(size for size in RETRAINED if size < (settings.channels, 99))]
    for channels, cells in dict.fromkeys((channels, min(cells, settings.cells)) for channels, cells in sizes):
        smaller = replace(settings, channels=channels, cells=cells)
        epoch = MARGIN * math.ceil(num_images / settings.batch_size) * measure(smaller)
        epochs = int(min(settings.epochs, budget / epoch))
        if epochs >= min(settings.epochs, GOOD_EPOCHS):
            return replace(smaller, epochs=epochs), epochs * epoch
    if epochs < min(settings.epochs, MIN_EPOCHS):
        raise ValueError(f"Even a small network needs {readable_time(MIN_EPOCHS * epoch)}; give --time more.")
    return replace(smaller, epochs=epochs), epochs * epoch


def training_step_seconds(
    network: nn.Module, settings: RetrainSettings, shape: Sequence[int], device: torch.device
) -> float:
    """Median time of a training step on random images of `shape` (channels, height, width)."""
    network = network.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    optimizer = settings.weights.build(list(network.parameters()))
    inputs = torch.randn(settings.batch_size, *shape, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        outputs = network(inputs)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        optimizer.zero_grad()
        sum((part.square().mean() for part in parts), start=torch.zeros((), device=device)).backward()
        optimizer.step()

    measured_seconds(step, device)
    return sorted(measured_seconds(step, device) for _ in range(3))[1]


def readable_time(value: float) -> str:
    """Seconds as a person says them: '40 s', '12 min', '3.5 h'."""
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
