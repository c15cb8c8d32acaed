"""How long a step of a search, a step of a training and the reading of images take on this machine."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.batch import tensors_in
from dnas.core.mixture import Active
from dnas.core.training_mode import set_training_mode
from dnas.cost import count_parameters
from dnas.data import (
    ArraySet,
    Catalog,
    ImageBatches,
    Normalization,
    SampleKind,
    standard_augmentation,
    to_device_if_it_fits,
)
from dnas.jobs.job import Job
from dnas.jobs.planning.fit import Measured, Sizes
from dnas.jobs.planning.trial import Trial
from dnas.jobs.planning.tried import kind_tried, network_to_train
from dnas.method.discretization.rehearsal import evenly, rehearse
from dnas.system.memory import peak_memory, reset_peak_memory
from dnas.system.peak import measured_seconds
from dnas.training.network_checks import takes_channels_last
from dnas.training.settings import RetrainSettings

# A mean is taken over at least this many steps and seconds, unless a step takes longer than the last number.
_STEPS, _SECONDS, _SLOW = 3, 0.1, 2.0
_READ_IMAGES = 128
# This many of the evaluations and steps that a discretization asks for are measured.
_ASKED = 4


def measure_search(
    job: Job, sizes: Sizes, kind: SampleKind, *, device: torch.device, finalists: Sequence[Architecture] = ()
) -> Measured:
    """Run a few steps of a search with these sizes, on random samples.

    Of a search without a supernet, whose finalists are all there is, their steps are what a step takes.

    Args:
        job: job with the method; its own sizes do not matter.
        sizes: sizes of the steps.
        kind: what the samples are like.
        device: device on which the steps run.
        finalists: architectures such as become finalists of the job.
    """
    started = time.perf_counter()
    gc.collect()  # garbage of an earlier measurement would be counted
    reset_peak_memory(device)
    job = sizes.given_to(job)
    finalist_step, finalist_evaluation = finalist_seconds(job, sizes, kind, finalists, device=device)
    if job.finalists.alone:
        return Measured(
            step=finalist_step,
            weight_step=finalist_step,
            evaluation=finalist_evaluation,
            finalist_step=finalist_step,
            finalist_evaluation=finalist_evaluation,
            memory=peak_memory(device),
            taken=time.perf_counter() - started,
        )
    trial = Trial(job, kind, batch_size=sizes.batch_size, device=device)

    batch = _batch_seconds(kind, sizes.batch_size, device=device)
    moving = job.search.relaxation.trains_alphas
    alone = not moving or job.search.warmup_epochs > 0 or job.search.weight_steps > 1
    step = mean_seconds(trial.step, device) if moving else 0.0
    weight_step = mean_seconds(trial.weight_step, device) if alone else step
    evaluation = measured_seconds(trial.evaluate, device)
    selection, tuning_step = discretization_seconds(trial, device)
    return Measured(
        step=step + (1 if job.search.one_level else 2) * batch if moving else weight_step + batch,
        weight_step=weight_step + batch,
        evaluation=evaluation + batch,
        epoch_end=measured_seconds(trial.end_epoch, device) if job.search.observers else 0.0,
        selection=selection + batch if selection else 0.0,
        tuning_step=tuning_step + batch if tuning_step else 0.0,
        finalist_step=finalist_step,
        finalist_evaluation=finalist_evaluation,
        memory=peak_memory(device),
        taken=time.perf_counter() - started,
    )


def discretization_seconds(trial: Trial, device: torch.device) -> tuple[float, float]:
    """Mean seconds of the discretization's evaluations of one batch and of its weight steps; 0 if it has none.

    A few of them are measured, spread evenly over all.
    """
    rehearsal = rehearse(trial.search.discretization, trial.supernet.decisions)
    trained = [active for _, active in rehearsal.trained]
    return _mean_of(trial.evaluate, rehearsal.evaluated, device), _mean_of(trial.tune, trained, device)


def finalist_seconds(
    job: Job, sizes: Sizes, kind: SampleKind, finalists: Sequence[Architecture], *, device: torch.device
) -> tuple[float, float]:
    """Seconds of a step of training a finalist and of evaluating one batch, of the largest; 0 where there are none."""
    if not finalists:
        return 0.0, 0.0
    sizes = sizes._replace(channels=job.finalists.channels or sizes.channels, cells=job.finalists.cells or sizes.cells)
    settings = replace(job.retrain, channels=sizes.channels, cells=sizes.cells, auxiliary=False)
    job, kind = replace(job, retrain=settings), kind_tried(job, kind)
    networks = [network_to_train(job, one, kind) for one in finalists]
    largest = max(networks, key=count_parameters)
    measured = measure_training(largest, settings, kind, batch_size=sizes.batch_size, device=device)
    return measured.step, measured.evaluation


def _mean_of(
    work: Callable[[Mapping[str, Active]], object], actives: Sequence[Mapping[str, Active]], device: torch.device
) -> float:
    """Mean seconds of some work with a few of these sets of candidates; 0 where there is none."""
    actives = evenly(actives, _ASKED)
    if not actives:
        return 0.0
    work(actives[0])  # memory is allocated and kernels are chosen
    return fmean(measured_seconds(lambda active=active: work(active), device) for active in actives)


def measure_training(
    network: nn.Module,
    settings: RetrainSettings,
    kind: SampleKind,
    *,
    batch_size: int,
    device: torch.device,
    teacher: nn.Module | None = None,
) -> Measured:
    """Run a few steps of training a network, on random samples.

    Args:
        network: network of these sizes, with logits or `(logits, auxiliary logits)` as outputs; its weights change.
        settings: settings with the optimizer.
        kind: what the samples are like.
        batch_size: number of samples in a batch.
        device: device on which the steps run.
        teacher: a network that runs forward in each step as well; None for none.
    """
    started = time.perf_counter()
    gc.collect()
    reset_peak_memory(device)
    network = network.to(device)
    teacher = None if teacher is None else copy.deepcopy(teacher).to(device).eval()
    images = kind.random_inputs(batch_size, torch.Generator().manual_seed(0)).to(device)
    if images.ndim == 4 and takes_channels_last(network, images):
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.contiguous(memory_format=torch.channels_last)
    optimizer = settings.weights.build([weight for weight in network.parameters() if weight.requires_grad])

    def step() -> None:
        set_training_mode(network)
        outputs = network(images)
        if teacher is not None:
            with torch.no_grad():
                teacher(images)
        optimizer.zero_grad()
        torch.stack([part.square().mean() for part in tensors_in(outputs)]).sum().backward()
        optimizer.step()

    def evaluation() -> None:
        with torch.no_grad():
            network.eval()(images)

    batch = _batch_seconds(kind, batch_size, device=device)
    seconds = mean_seconds(step, device) + batch
    return Measured(
        step=seconds,
        weight_step=seconds,
        evaluation=measured_seconds(evaluation, device) + batch,
        memory=peak_memory(device),
        taken=time.perf_counter() - started,
    )


def reading_seconds(catalog: Catalog, size: int | None, *, patience: float, skip_unreadable: bool = False) -> float:
    """Seconds that reading all images will take, extrapolated from reading the first ones.

    Args:
        catalog: the data.
        size: height and width to which the images are brought, in pixels; None for samples that are no images.
        patience: seconds after which no more images are read.
        skip_unreadable: leave out images that cannot be read.

    Raises:
        UserError: an image among the first cannot be read.
    """
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if done < total and (done >= _READ_IMAGES or time.perf_counter() - started > patience):
            raise _Enough(done)

    try:
        catalog.load(size=size, progress=progress, skip_unreadable=skip_unreadable)
    except _Enough as enough:
        return (time.perf_counter() - started) * (catalog.num_train + catalog.num_test) / enough.done
    return time.perf_counter() - started


class _Enough(Exception):
    """Ends the reading of images when enough were read to know how fast it is."""

    def __init__(self, done: int):
        super().__init__(done)
        self.done = done


def mean_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of `work`, without a first time in which memory is allocated and kernels are chosen."""
    first = measured_seconds(work, device)
    taken: Sequence[float] = [measured_seconds(work, device)]
    while first < _SLOW and (len(taken) < _STEPS or sum(taken) < _SECONDS):
        taken = [*taken, measured_seconds(work, device)]
    return sum(taken) / len(taken)


def _batch_seconds(kind: SampleKind, batch_size: int, *, device: torch.device) -> float:
    """Seconds to make one batch of samples that are in memory, images with augmentation."""
    batches = random_batches(kind, batch_size, 2, seed=0, device=device)
    return mean_seconds(lambda: list(batches.epoch(0)), device) / len(batches)


def random_batches(
    kind: SampleKind, batch_size: int, num_batches: int, *, seed: int, device: torch.device
) -> ImageBatches:
    """Batches of random samples that are in memory, made as a search makes them, images with augmentation."""
    count, is_pixels = num_batches * batch_size, kind.inputs == "pixels"
    samples = ArraySet(
        torch.randint(256, (count, *kind.shape), dtype=torch.uint8) if is_pixels else kind.zeros(count),
        torch.zeros(count, *kind.target_shape, dtype=torch.int64),
        kind,
        "random samples",
    )
    channels = kind.in_channels
    return ImageBatches(
        to_device_if_it_fits(samples, device),
        batch_size=batch_size,
        augmentation=standard_augmentation(samples) if is_pixels and kind.targets != "map" else None,
        normalization=None if kind.inputs == "tokens" else Normalization((0.5,) * channels, (0.25,) * channels),
        seed=seed,
        shuffle=True,
        device=device,
    )
