"""Where the time, the memory and the operations of a search go on this machine."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler
from torch.utils.hooks import RemovableHandle

from dnas.cost.work import WorkCounter
from dnas.data import ImageBatches, ImageSet, Normalization, open_source, standard_augmentation, to_device_if_it_fits
from dnas.jobs.job import Job, device_of
from dnas.jobs.planning.counts import Counts, num_batches, search_counts
from dnas.jobs.planning.fit import Measured
from dnas.jobs.planning.measure import discretization_seconds
from dnas.jobs.planning.plan import (
    images_in_half,
    images_to_search_with,
    jobs_of_stages,
)
from dnas.jobs.planning.trial import Trial, memory_of_small_batches
from dnas.method.discretization.rehearsal import rehearse
from dnas.system.errors import UserError
from dnas.system.memory import (
    RESERVE,
    available_memory,
    gibibytes,
    largest_batch,
    peak_memory,
    reset_peak_memory,
)
from dnas.system.peak import Peak, measure_peak, measured_seconds, synchronize
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads
from dnas.system.words import aligned, number_of, readable_time

NUM_OPERATIONS = 10
# Of the supernet of DARTS (Liu et al. 2019, appendix A.1).
_CHANNELS, _CELLS, _BATCH_SIZE = 16, 8, 64
# FLOPs are counted on so many images and multiplied; batch norm needs two.
_COUNTED_BATCH = 2
# Where a step draws candidates, the FLOPs are the mean of so many draws.
_DRAWS = 8


@dataclass(frozen=True)
class Timing:
    """Seconds that were measured several times.

    Args:
        median, low, high: of all repeats.
    """

    median: float
    low: float
    high: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Timing:
        """The spread of one or more measurements."""
        return Timing(statistics.median(seconds), min(seconds), max(seconds))


@dataclass(frozen=True)
class Phases:
    """Seconds of one part of a search step, such as the architecture step or the weight step.

    Args:
        forward: in the model's forward passes; of second order these are several.
        backward: after a forward pass until the next one or the optimizer: loss, penalties, backward pass, and what is
            done with gradients (clipping, the virtual step and the differences of second order).
        optimizer: in the optimizer's step.
        other: before the first forward pass: drawing the mixtures, setting weights and mixtures.
    """

    forward: float
    backward: float
    optimizer: float
    other: float

    @property
    def total(self) -> float:
        """Seconds of all of them."""
        return self.forward + self.backward + self.optimizer + self.other

    def __add__(self, other: Phases) -> Phases:
        return Phases(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Phases)))


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one search step, a multiply-add being 2 (see `dnas.cost.work.WorkCounter` for what counts).

    Args:
        architecture: forward passes, and those gradients that the method needs: of first order none of weights; 0 with
            one level, or where no alphas are trained.
        weight: forward pass, gradients of inputs and weights; with one level those of the alphas too.
        observers: of what looks at a step after it.
    """

    architecture: float
    weight: float
    observers: float = 0.0

    @property
    def total(self) -> float:
        """Of all of it."""
        return self.architecture + self.weight + self.observers


@dataclass(frozen=True)
class Operation:
    """One kind of operation in a search step.

    Args:
        name: as PyTorch calls it.
        count: how many times it ran.
        seconds: in it alone, not in operations that it calls.
        share: of all operations' time, 0 to 1.
    """

    name: str
    count: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """What a search takes on this machine.

    Args:
        device: its name, and the threads that PyTorch uses on a CPU.
        torch_version: of PyTorch.
        image_size, batch_size, channels, cells: of the search.
        step: one architecture step, where alphas are trained, and one weight step, with what observers do after it, on
            data that are there.
        one_level: whether alphas and weights move in one pass: the weight step then is all of the step.
        weight_steps: weight steps for each architecture step.
        architecture_step, weight_step, observers: medians of their phases, measured in steps of their own; None for
            what the search does not do.
        data: the batches of a step, one of the weights and one of the alphas where they have their own: augmented,
            normalised and brought to the device, without decoding.
        evaluation: of the supernet on one batch.
        memory: bytes at the peak of a step: of the process on a CPU, of the tensors on a GPU.
        available: bytes that this process may take in all.
        max_batch_size: the largest batch that will fit with a tenth of the memory left free, by the line through the
            memory of two sizes; None where the batch is too small to tell.
        flops: of one step.
        peak: the best rates of this machine, measured here.
        operations: the most expensive ones.
        work: how often the search does what.
        measured: seconds of each of these, with data: what `work` is multiplied with.
        search_seconds: for all of it, on a machine as busy as now.
    """

    device: str
    torch_version: str
    image_size: int
    batch_size: int
    channels: int
    cells: int
    step: Timing
    one_level: bool
    weight_steps: int
    architecture_step: Phases | None
    weight_step: Phases
    observers: Phases | None
    data: Timing
    evaluation: Timing
    memory: int
    available: int
    max_batch_size: int | None
    flops: StepFlops
    peak: Peak
    operations: tuple[Operation, ...]
    work: Counts
    measured: Measured
    search_seconds: float

    @property
    def flops_per_second(self) -> float:
        """Reached in a step, data not counted."""
        return self.flops.total / self.step.median

    @property
    def share_of_peak(self) -> float:
        """Of the rate of a large matrix product, 0 to 1."""
        return self.flops_per_second / self.peak.flops_per_second

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data; times in seconds, memory in bytes."""
        derived = {"flops_per_second": self.flops_per_second, "share_of_peak": self.share_of_peak}
        return {**asdict(self), **derived}

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_data(), indent=2)

    def to_text(self) -> str:
        """Aligned tables."""
        fits = "" if self.max_batch_size is None else f"; batch {self.max_batch_size} would fit"
        peak = self.peak
        return "\n".join(
            [
                f"{self.device}, PyTorch {self.torch_version}",
                f"Images {self.image_size}x{self.image_size}, batch {self.batch_size}, {self.channels} channels, "
                f"{self.cells} cells",
                "",
                f"Search step   {_milliseconds(self.step)}",
                f"Data          {_milliseconds(self.data)}, {self._batches}, decoding left out",
                f"Evaluation    {_milliseconds(self.evaluation)}, one batch of the whole supernet",
                f"Memory        {gibibytes(self.memory)} at the peak, {gibibytes(self.available)} available{fits}",
                f"FLOPs         {_billions(self.flops.total)} in a step, {_billions(self.flops_per_second)}/s: "
                f"{self.share_of_peak:.1%} of the peak",
                f"Peak          {_billions(peak.flops_per_second)}/s in a product of two {peak.dtype} matrices of "
                f"{peak.size} rows; a copy moves {peak.bytes_per_second / 1e9:.1f} GB/s",
                f"Whole search  about {readable_time(self.search_seconds)}: {self._what_it_does}",
                "",
                *aligned(list(self._phase_rows()), "<>>>>>>"),
                "",
                *aligned(list(self._operation_rows()), "<>>>"),
            ]
        )

    def _phase_rows(self) -> Iterator[tuple[str, ...]]:
        yield "Milliseconds", "forward", "backward", "optimizer", "other", "total", "GFLOP"
        every = "" if self.weight_steps == 1 else f", 1 in {self.weight_steps}"
        parts = (
            (f"Architecture step{every}", self.architecture_step, self.flops.architecture),
            ("One-level step" if self.one_level else "Weight step", self.weight_step, self.flops.weight),
            ("Observers", self.observers, self.flops.observers),
        )
        for name, phases, flops in parts:
            if phases is not None:
                seconds = (phases.forward, phases.backward, phases.optimizer, phases.other, phases.total)
                yield name, *(f"{1e3 * part:.1f}" for part in seconds), f"{flops / 1e9:.3g}"

    @property
    def _batches(self) -> str:
        return "one batch" if self.architecture_step is None else "both batches"

    @property
    def _what_it_does(self) -> str:
        """The parts of the search, each with its time."""
        work, measured = self.work, self.measured
        whole = "steps" if self.one_level else "steps of alphas and weights"
        parts = (
            (work.steps, whole, measured.step),
            (work.weight_steps, "steps of the weights alone", measured.weight_step),
            (work.evaluations, "batches evaluated", measured.evaluation),
            (work.epochs, "ends of epochs with observers", measured.epoch_end),
            (work.selections, "batches evaluated to discretize", measured.selection),
            (work.tuning_steps, "steps of training to discretize", measured.tuning_step),
        )
        return ", ".join(
            f"{count} {what} {readable_time(count * seconds)}" for count, what, seconds in parts if count and seconds
        )

    def _operation_rows(self) -> Iterator[tuple[str, ...]]:
        yield "Most expensive operations", "calls", "ms", "share"
        for operation in self.operations:
            yield operation.name, str(operation.count), f"{1e3 * operation.seconds:.1f}", f"{operation.share:.1%}"


@dataclass(frozen=True)
class StagedProfile:
    """What a search in stages takes on this machine.

    Candidates that a later stage will have ruled out are counted in it, so it will take less.

    Args:
        stages: the profile of each.
    """

    stages: tuple[Profile, ...]

    @property
    def search_seconds(self) -> float:
        """Of all stages."""
        return sum(stage.search_seconds for stage in self.stages)

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data; times in seconds, memory in bytes."""
        return {"stages": [stage.to_data() for stage in self.stages], "search_seconds": self.search_seconds}

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_data(), indent=2)

    def to_text(self) -> str:
        """The tables of each stage, and the time of all."""
        count = len(self.stages)
        parts = [
            f"Stage {number} of {count}, {stage.work.epochs} epochs\n{stage.to_text()}"
            for number, stage in enumerate(self.stages, start=1)
        ]
        total = (
            f"All {count} stages  about {readable_time(self.search_seconds)}; candidates that are ruled out before a "
            "stage are counted in it, so it will take less"
        )
        return "\n\n".join([*parts, total])


def profile_job(job: Job) -> Profile | StagedProfile:
    """The profile of the search that `job` describes; the data are looked at, not decoded.

    Sizes that it leaves out are those of the paper: 16 channels, 8 cells (of the recipe's first stage where it has
    stages), batches of 64 (fewer where the data have fewer) at the size of the data's images.

    Raises:
        FileNotFoundError, UserError: there are no such data, the batch will not fit into memory, or a time is given,
            which would have no effect.
    """
    if job.time is not None:
        raise UserError(
            f"time = {job.time} would have no effect on a profile, which says how long the search takes; leave it out "
            "and give channels, cells, batch_size or image_size."
        )
    device = device_of(job.device)
    catalog = open_source(job.data, image_column=job.image_column, label_column=job.label_column)
    first = job.search.all_stages[0]
    resolved = replace(
        job,
        image_size=job.image_size or catalog.default_size,
        batch_size=min(job.batch_size or _BATCH_SIZE, images_in_half(job, catalog)),
        channels=job.channels or first.channels or _CHANNELS,
        cells=job.cells or first.cells or _CELLS,
    )
    with num_threads(job.threads):
        profiles = [
            profile_search(
                one,
                num_classes=len(catalog.class_names),
                num_images=images_to_search_with(job, catalog),
                device=device,
            )
            for one in jobs_of_stages(resolved)
        ]
    return StagedProfile(tuple(profiles)) if job.search.stages else profiles[0]


def profile_search(
    job: Job, *, num_classes: int, num_images: int, device: torch.device, repeats: int = 5, warmup: int = 2
) -> Profile:
    """Measure the search that `job` describes on random images of its size; nothing is read, nothing is kept.

    The random generators are left as they were. The FLOPs are those of the CPU's code, counted on a batch of 2 and
    multiplied: kernels of our own, which a GPU may use, do the same work but are not seen by the counter. With
    candidates drawn at random they are a mean of 8 draws. Phases are measured with a device that is waited for after
    each, the step without. CUDA is written but has not been measured on a GPU yet.

    Args:
        job: with channels, cells, image size and batch size (`dnas.jobs.planning.plan.plan` fills them in).
        num_classes: of the data.
        num_images: that the search may use, for weights and alphas together.
        device: to measure.
        repeats: of each measurement; the median counts.
        warmup: steps before, which are not counted: memory is allocated and kernels are chosen there.

    Raises:
        UserError: the job lacks a size, a number is not over 0, or the batch will not fit into memory.

    Example:
        >>> job = Job(image_size=8, batch_size=4, channels=2, cells=1)
        >>> profile = profile_search(job, num_classes=10, num_images=100, device=torch.device("cpu"), repeats=1)
        >>> len(profile.operations)
        10
    """
    _check(job, num_classes=num_classes, num_images=num_images, repeats=repeats, warmup=warmup)
    with seeded(job.seed):
        return _profile(job, num_classes, num_images, device, repeats, warmup)


def _profile(job: Job, num_classes: int, num_images: int, device: torch.device, repeats: int, warmup: int) -> Profile:
    assert job.image_size and job.batch_size and job.channels and job.cells

    def trial(batch_size: int) -> Trial:
        return Trial(job, num_classes=num_classes, batch_size=batch_size, device=device)

    small = memory_of_small_batches(trial, job.batch_size, device)
    available = available_memory(device)
    reset_peak_memory(device)
    whole = trial(job.batch_size)
    for _ in range(warmup):
        whole.step()
    step = Timing.of([measured_seconds(whole.step, device) for _ in range(repeats)])
    memory = peak_memory(device)
    architecture_step, weight_step, observers = step_phases(whole, device, repeats=repeats)
    operations = expensive_operations(whole.step, device)
    rehearsal = rehearse(job.search.discretization, whole.supernet.decisions)
    batches, evaluation_batches = num_batches(job, num_images, job.batch_size)
    work = search_counts(job.search, rehearsal, batches=batches, evaluation_batches=evaluation_batches)
    whole.weight_step()
    alone = Timing.of([measured_seconds(whole.weight_step, device) for _ in range(repeats)])
    whole.evaluate()
    evaluation = Timing.of([measured_seconds(whole.evaluate, device) for _ in range(repeats)])
    selection, tuning_step = discretization_seconds(whole, device)
    epoch_end = measured_seconds(whole.end_epoch, device) if job.search.observers else 0.0
    del whole
    in_step = 1 if architecture_step is None else 2
    data = _data_timing(job, num_classes, device, num_batches=in_step, repeats=repeats)
    batch = data.median / in_step
    measured = Measured(
        step=step.median + data.median,
        weight_step=alone.median + batch,
        evaluation=evaluation.median + batch,
        memory=memory,
        epoch_end=epoch_end,
        selection=selection + batch if selection else 0.0,
        tuning_step=tuning_step + batch if tuning_step else 0.0,
    )
    return Profile(
        device=device_name(device),
        torch_version=torch.__version__,
        image_size=job.image_size,
        batch_size=job.batch_size,
        channels=job.channels,
        cells=job.cells,
        step=step,
        one_level=job.search.one_level,
        weight_steps=job.search.weight_steps,
        architecture_step=architecture_step,
        weight_step=weight_step,
        observers=observers,
        data=data,
        evaluation=evaluation,
        memory=memory,
        available=available,
        max_batch_size=_max_batch_size({**small, job.batch_size: memory}, available),
        flops=search_step_flops(job, num_classes=num_classes),
        peak=measure_peak(device),
        operations=operations,
        work=work,
        measured=measured,
        search_seconds=work.seconds(measured),
    )


def _check(job: Job, *, num_classes: int, num_images: int, repeats: int, warmup: int) -> None:
    missing = [name for name in ("image_size", "batch_size", "channels", "cells") if getattr(job, name) is None]
    if missing:
        raise UserError(f"A profile needs all sizes; the job lacks {', '.join(missing)}. A plan fills them.")
    if min(num_classes, num_images, repeats) < 1 or warmup < 0:
        raise UserError(
            "num_classes, num_images and repeats must be at least 1 and warmup at least 0; got "
            f"{num_classes}, {num_images}, {repeats} and {warmup}."
        )


# Time


# The parts of a step.
_ARCHITECTURE, _WEIGHT, _OBSERVERS = "architecture", "weight", "observers"


def step_phases(trial: Trial, device: torch.device, *, repeats: int) -> tuple[Phases | None, Phases, Phases | None]:
    """Medians of the phases of the architecture step, the weight step and observers; None for what is not done."""
    steps = [_timed_step(trial, device) for _ in range(repeats)]
    architecture, weight, observers = (
        _median_phases([step[part] for step in steps]) if part in steps[0] else None
        for part in (_ARCHITECTURE, _WEIGHT, _OBSERVERS)
    )
    assert weight is not None
    return architecture, weight, observers


class _Stopwatch:
    """Seconds by the name of what ran, from one `start` to the next, all that the device was given done."""

    def __init__(self, device: torch.device):
        self._device = device
        self._seconds: dict[str, float] = dict.fromkeys([field.name for field in fields(Phases)], 0.0)
        self._running = "other"
        self._since = self._now()

    def start(self, name: str) -> None:
        """From now on it is `name` that runs."""
        now = self._now()
        self._seconds[self._running] += now - self._since
        self._running, self._since = name, now

    def phases(self) -> Phases:
        """What was measured until now; the watch begins anew."""
        self.start("other")
        phases = Phases(**self._seconds)
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return phases

    def _now(self) -> float:
        synchronize(self._device)
        return time.perf_counter()


def _timed_step(trial: Trial, device: torch.device) -> dict[str, Phases]:
    """Phases of the parts of a step; with one level all of it is the weight step."""
    watch = _Stopwatch(device)
    found: dict[str, Phases] = {}

    def ended(part: str) -> None:
        found[part] = found[part] + watch.phases() if part in found else watch.phases()

    model, optimizers = trial.supernet.model, (trial.alpha_optimizer, trial.weight_optimizer)
    handles = [
        model.register_forward_pre_hook(lambda *_: watch.start("forward")),
        model.register_forward_hook(lambda *_: watch.start("backward")),
        *(optimizer.register_step_pre_hook(lambda *_: watch.start("optimizer")) for optimizer in optimizers),
        *_at_ends(trial, ended),
    ]
    try:
        trial.step()
        if trial.watches_steps:
            ended(_OBSERVERS)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _at_ends(trial: Trial, ended: Callable[[str], None]) -> list[RemovableHandle]:
    """Hooks that tell when the architecture step and the weight step are over; with one level there is no first."""
    alphas = _WEIGHT if trial.search.one_level else _ARCHITECTURE
    return [
        trial.alpha_optimizer.register_step_post_hook(lambda *_: ended(alphas)),
        trial.weight_optimizer.register_step_post_hook(lambda *_: ended(_WEIGHT)),
    ]


def _median_phases(measured: Sequence[Phases]) -> Phases:
    names = [field.name for field in fields(Phases)]
    return Phases(**{name: statistics.median(getattr(phases, name) for phases in measured) for name in names})


def _data_timing(job: Job, num_classes: int, device: torch.device, *, num_batches: int, repeats: int) -> Timing:
    """The batches of a step, as a search makes them from images that are in memory."""
    assert job.batch_size and job.image_size
    count = num_batches * job.batch_size
    images = ImageSet(
        torch.randint(256, (count, 3, job.image_size, job.image_size), dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
        tuple(f"class {index}" for index in range(num_classes)),
        "random images",
    )
    batches = ImageBatches(
        to_device_if_it_fits(images, device),
        batch_size=job.batch_size,
        augmentation=standard_augmentation(images),
        normalization=Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        seed=job.seed,
        shuffle=True,
        device=device,
    )

    def all_batches() -> None:
        for _ in batches.epoch(0):
            pass

    measured_seconds(all_batches, device)
    return Timing.of([measured_seconds(all_batches, device) for _ in range(repeats)])


def expensive_operations(work: Callable[[], object], device: torch.device) -> tuple[Operation, ...]:
    """The ten kinds of operations that take most of the time of `work`, the most expensive first."""
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profiler(activities=activities) as recorded:
        work()
        synchronize(device)
    found = []
    for event in recorded.key_averages():
        # Kernels of a GPU are listed by themselves too; their time is also that of the operation that launched them.
        if event.device_type == DeviceType.CPU:
            on_device = device.type == "cuda"
            microseconds = event.self_device_time_total if on_device else event.self_cpu_time_total
            found.append((microseconds / 1e6, event.key, event.count))
    total = sum(seconds for seconds, _, _ in found) or 1.0
    found.sort(reverse=True)
    return tuple(Operation(name, count, seconds, seconds / total) for seconds, name, count in found[:NUM_OPERATIONS])


# FLOPs


def search_step_flops(job: Job, *, num_classes: int) -> StepFlops:
    """FLOPs of one step of `job.batch_size` images, counted on the CPU on a small batch and multiplied.

    They are in proportion to the batch, since nothing is counted that works on weights alone.

    Args:
        job: with all sizes.
        num_classes: of the data.
    """
    assert job.batch_size
    with seeded(job.seed):
        trial = Trial(job, num_classes=num_classes, batch_size=_COUNTED_BATCH, device=torch.device("cpu"))
        random = any(mixture.active is not None for mixture in trial.draw().values())
        counts = [_counted_step(trial) for _ in range(_DRAWS if random else 1)]
    scale = job.batch_size / _COUNTED_BATCH
    return StepFlops(
        scale * statistics.fmean(count.architecture for count in counts),
        scale * statistics.fmean(count.weight for count in counts),
        scale * statistics.fmean(count.observers for count in counts),
    )


def _counted_step(trial: Trial) -> StepFlops:
    at = {_ARCHITECTURE: 0, _WEIGHT: 0}
    with WorkCounter() as counter:
        handles = _at_ends(trial, lambda part: at.update({part: counter.flops}))
        try:
            trial.step()
        finally:
            for handle in handles:
                handle.remove()
    return StepFlops(at[_ARCHITECTURE], at[_WEIGHT] - at[_ARCHITECTURE], counter.flops - at[_WEIGHT])


# Memory


def _max_batch_size(memory: Mapping[int, int], available: int) -> int | None:
    """The largest batch by the memory of the two largest that were measured."""
    largest = dict(sorted(memory.items())[-2:])
    if len(largest) < 2 or largest[max(largest)] <= largest[min(largest)]:
        return None
    return largest_batch(largest, int((1 - RESERVE) * available))


# Text


def device_name(device: torch.device) -> str:
    """Of the GPU, or of the CPU with PyTorch's number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {number_of(torch.get_num_threads(), 'thread')}"


def _cpu_name() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _billions(flops: float) -> str:
    return f"{flops / 1e9:.4g} GFLOP"


def _milliseconds(timing: Timing) -> str:
    return f"{1e3 * timing.median:.1f} ms ({1e3 * timing.low:.1f} to {1e3 * timing.high:.1f})"
