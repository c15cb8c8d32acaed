"""Channels, cells and epochs of a retraining that fit the time and the memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.planning.counts import END_OF_EPOCH
from dnas.jobs.planning.fit import Limits, Measure, Measured, Sizes, largest_that_fits
from dnas.jobs.planning.measure import measure_training
from dnas.jobs.planning.time_budget import MARGIN, MIN_EPOCHS, START_AND_END, TooShort, enough_time, planning_seconds
from dnas.jobs.planning.tried import network_to_train
from dnas.system.memory import available_memory, gibibytes
from dnas.system.words import readable_time, seconds_in
from dnas.training.settings import RetrainSettings

# Networks to retrain from large to small, after the one asked for: (channels, cells).
RETRAIN_LADDER = ((36, 14), (24, 14), (16, 14), (16, 8), (12, 8), (8, 5))
# A larger network is taken only if it can be trained for this many epochs; fewer would leave it unfinished.
GOOD_EPOCHS = 60


@dataclass(frozen=True)
class RetrainPlan:
    """Settings of a retraining that fits, and the time and memory that it will take.

    Args:
        settings: settings with the channels, cells and epochs that fit.
        seconds: duration of the whole command, with a margin for a busy machine.
        memory: bytes at the peak, of the GPU's tensors or, on a CPU, of the process.
        step: seconds of one step.
        is_own: whether the network is of a module of the user's own, without channels and cells.
    """

    settings: RetrainSettings
    seconds: float
    memory: int
    step: float
    is_own: bool = False

    def __str__(self) -> str:
        settings = self.settings
        network = f"{settings.channels} channels, {settings.cells} cells"
        return (
            f"{f'batch {settings.batch_size}' if self.is_own else network}, {settings.epochs} epochs: "
            f"about {readable_time(self.seconds)}, {gibibytes(self.memory)} of memory"
        )


def plan_retraining_of(
    job: Job,
    architecture: Architecture,
    *,
    time: str | None,
    kind: SampleKind,
    num_rest: int,
    device: torch.device,
    planning: float,
    teacher: nn.Module | None = None,
) -> RetrainPlan:
    """The plan for retraining an architecture by the settings of a job.

    Args:
        job: the job.
        architecture: the architecture whose network is trained.
        time: how long it may take, such as 30min; None for no limit.
        kind: what the samples are like.
        num_rest: number of samples outside the test part.
        device: where the training runs.
        planning: seconds that measuring may take.
        teacher: a network of which it learns; None for none.

    Raises:
        UserError: as `plan_retraining`.
    """
    num_held_out = round(job.validation_fraction * num_rest)
    return plan_retraining(
        job.retrain,
        measure_of_retraining(job, architecture, kind, device, teacher=teacher),
        time=time,
        image_size=kind.image_size or 1,
        num_images=num_rest - num_held_out,
        num_held_out=num_held_out,
        available=available_memory(device),
        planning=planning,
        is_own=job.model is not None,
    )


def measure_of_retraining(
    job: Job, architecture: Architecture, kind: SampleKind, device: torch.device, *, teacher: nn.Module | None = None
) -> Measure:
    """A function that measures a step of training an architecture's network, with its teacher, on such samples."""

    def measure(sizes: Sizes) -> Measured:
        settings = replace(job.retrain, channels=sizes.channels, cells=sizes.cells)
        sized = replace(job, retrain=settings)
        network = network_to_train(sized, architecture, kind)
        return measure_training(network, settings, kind, batch_size=sizes.batch_size, device=device, teacher=teacher)

    return measure


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
    is_own: bool = False,
) -> RetrainPlan:
    """The largest network up to the one asked for whose training fits, with as many of the epochs asked for as fit.

    Args:
        settings: the settings as the user gave them.
        measure: measures a step of training at given sizes.
        time: how long it may take, such as 30min; None for no limit, so that nothing is lowered.
        image_size: height and width of the images in pixels.
        num_images: number of images in an epoch of training.
        num_held_out: number of images that are evaluated after each epoch.
        available: bytes of memory that may be used.
        planning: seconds that measuring may take.
        is_own: whether the network is of a module of the user's own, so that only epochs are lowered.

    Raises:
        UserError: not even the smallest network fits for ten epochs, or the memory does not hold it.
    """
    batch_size = min(settings.batch_size, num_images)
    asked = Sizes(image_size, batch_size, settings.channels, settings.cells)
    smaller = [
        asked._replace(channels=channels, cells=min(cells, settings.cells))
        for channels, cells in RETRAIN_LADDER
        if channels <= settings.channels
    ]
    sizes_of = list(dict.fromkeys([asked, *smaller])) if time is not None and not is_own else [asked]
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
        enough = enough_time(START_AND_END + least * epoch(measured))
        network = "" if is_own else f" with {sizes.channels} channels and {sizes.cells} cells"
        raise TooShort(
            f"{time} is too short: retraining needs --time {enough} for {least} epochs{network}.",
            enough,
        )
    chosen = replace(settings, channels=sizes.channels, cells=sizes.cells, epochs=epochs)
    seconds, memory = START_AND_END + epochs * epoch(measured), needed(sizes, measured)[1]
    return RetrainPlan(chosen, seconds, memory, measured.step, is_own)
