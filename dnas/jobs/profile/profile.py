"""Measure where the time, the memory and the operations of a search go on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from dnas.data import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.job_data import open_data, with_task_of
from dnas.jobs.planning.counts import Counts, num_batches, search_counts
from dnas.jobs.planning.fit import Measured
from dnas.jobs.planning.ladder import images_in_half, images_to_search_with
from dnas.jobs.planning.measure import discretization_seconds, random_batches
from dnas.jobs.planning.search_plan import jobs_of_stages
from dnas.jobs.planning.trial import Trial, memory_of_small_batches
from dnas.jobs.profile.flops import search_step_bytes, search_step_flops
from dnas.jobs.profile.stopwatch import step_phases
from dnas.jobs.profile.values import Operation, Profile, StagedProfile, Timing
from dnas.method.discretization.rehearsal import rehearse
from dnas.system.devices import device_name, named_device
from dnas.system.errors import UserError
from dnas.system.memory import RESERVE, available_memory, largest_batch, peak_memory, reset_peak_memory
from dnas.system.peak import measure_peak, measured_seconds, synchronize
from dnas.system.random_state import seeded
from dnas.system.threads import num_threads
from dnas.system.words import number_of

NUM_OPERATIONS = 10
# The sizes of the supernet of DARTS (Liu et al. 2019, appendix A.1).
_CHANNELS, _CELLS, _BATCH_SIZE = 16, 8, 64


def profile_job(job: Job) -> Profile | StagedProfile:
    """Profile the search that `job` describes, on random images; its own images are only counted, not decoded.

    Sizes that it leaves out are those of DARTS: 16 channels and 8 cells (or those of the recipe's first stage, if it
    has stages), and batches of 64 images, or of half the data if that is less, in the size of the data's images.

    Raises:
        FileNotFoundError, UserError: there are no such data, the batch will not fit into memory, or the job gives a
            time, which would have no effect.
    """
    if job.time is not None:
        raise UserError(
            f"time = {job.time} would have no effect on a profile, which says how long the search takes; leave it out "
            "and give channels, cells, batch_size or image_size."
        )
    device = named_device(job.device)
    catalog = open_data(job)
    job = with_task_of(job, catalog)
    first = job.search.all_stages[0]
    resolved = replace(
        job,
        image_size=job.image_size or catalog.default_size,
        batch_size=min(job.batch_size or _BATCH_SIZE, images_in_half(job, catalog)),
        channels=(job.channels or first.channels or _CHANNELS) if job.model is None else None,
        cells=(job.cells or first.cells or _CELLS) if job.model is None else None,
    )
    with num_threads(job.threads):
        profiles = [
            profile_search(
                one,
                catalog.kind(one.image_size),
                num_images=images_to_search_with(job, catalog),
                device=device,
            )
            for one in jobs_of_stages(resolved)
        ]
    return StagedProfile(tuple(profiles)) if job.search.stages else profiles[0]


def profile_search(
    job: Job, kind: SampleKind, *, num_images: int, device: torch.device, repeats: int = 5, warmup: int = 2
) -> Profile:
    """Measure the search that `job` describes on random images of its size; nothing is read, nothing is kept.

    The random generators are left as they were. The FLOPs are those of the CPU's code, counted on a batch of 2 and
    multiplied: our own kernels, which a GPU may use, do the same work, but the counter does not see them. If candidates
    are drawn at random, the FLOPs are a mean over 8 draws. The device is waited for after each phase, but only once
    after a whole step. CUDA is written but has not been measured on a GPU yet.

    Args:
        job: job with channels, cells, image size and batch size (`dnas.jobs.planning.search_plan.plan` chooses them).
        kind: what the samples are like.
        num_images: number of samples that the search may use, for weights and alphas together.
        device: device that is measured.
        repeats: number of times that each measurement is repeated.
        warmup: number of steps before the measurements, in which memory is allocated and kernels are chosen.

    Raises:
        UserError: the job lacks a size, a number is out of its range, or the batch will not fit into memory.

    Example:
        >>> from dnas.data import image_kind
        >>> job = Job(image_size=8, batch_size=4, channels=2, cells=1)
        >>> kind = image_kind(tuple("0123456789"), channels=3, size=8)
        >>> profile = profile_search(job, kind, num_images=100, device=torch.device("cpu"), repeats=1)
        >>> len(profile.operations)
        10
    """
    _check(job, num_images=num_images, repeats=repeats, warmup=warmup)
    with seeded(job.seed):
        return _profile(job, kind, num_images, device, repeats, warmup)


def _profile(job: Job, kind: SampleKind, num_images: int, device: torch.device, repeats: int, warmup: int) -> Profile:
    """Measure the search; half of the lines name the fields of the profile."""
    assert job.batch_size

    def trial(batch_size: int) -> Trial:
        return Trial(job, kind, batch_size=batch_size, device=device)

    small = memory_of_small_batches(trial, job.batch_size, device)
    available = available_memory(device)
    reset_peak_memory(device)
    whole = trial(job.batch_size)
    for _ in range(warmup):
        whole.step()
    step = _timing(whole.step, device, repeats)
    memory = peak_memory(device)
    architecture_step, weight_step, observers = step_phases(whole, device, repeats=repeats)
    operations = expensive_operations(whole.step, device)
    work = _work_of_search(job, whole, num_images)
    whole.evaluate()
    evaluation = _timing(whole.evaluate, device, repeats)
    bare = _without_data(job, whole, step, evaluation, memory, device, repeats)
    del whole
    in_step = 1 if architecture_step is None else 2
    data = _data_timing(job, kind, device, num_batches=in_step, repeats=repeats)
    measured = _with_data(bare, of_step=data.median, of_batch=data.median / in_step)
    return Profile(
        device=device_and_threads(device),
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
        flops=search_step_flops(job, kind),
        num_bytes=search_step_bytes(job, kind),
        peak=measure_peak(device),
        operations=operations,
        work=work,
        measured=measured,
        search_seconds=work.seconds(measured),
    )


def _check(job: Job, *, num_images: int, repeats: int, warmup: int) -> None:
    if job.missing_sizes:
        raise UserError(f"A profile needs all sizes; the job lacks {', '.join(job.missing_sizes)}. A plan fills them.")
    if min(num_images, repeats) < 1 or warmup < 0:
        raise UserError(
            "num_images and repeats must be at least 1 and warmup at least 0; got "
            f"{num_images}, {repeats} and {warmup}."
        )


def _timing(work: Callable[[], object], device: torch.device, repeats: int) -> Timing:
    return Timing.of([measured_seconds(work, device) for _ in range(repeats)])


def _work_of_search(job: Job, trial: Trial, num_images: int) -> Counts:
    """How many steps, evaluations and epochs the search consists of."""
    assert job.batch_size
    rehearsal = rehearse(job.search.discretization, trial.supernet.decisions)
    batches, evaluation_batches = num_batches(job, num_images, job.batch_size)
    return search_counts(
        job.search, rehearsal, batches=batches, evaluation_batches=evaluation_batches, batch_size=job.batch_size
    )


def _without_data(
    job: Job, trial: Trial, step: Timing, evaluation: Timing, memory: int, device: torch.device, repeats: int
) -> Measured:
    """What planning would measure, with batches that are already made."""
    trial.weight_step()
    alone = _timing(trial.weight_step, device, repeats)
    selection, tuning_step = discretization_seconds(trial, device)
    return Measured(
        step=step.median,
        weight_step=alone.median,
        evaluation=evaluation.median,
        memory=memory,
        epoch_end=measured_seconds(trial.end_epoch, device) if job.search.observers else 0.0,
        selection=selection,
        tuning_step=tuning_step,
    )


def _with_data(measured: Measured, *, of_step: float, of_batch: float) -> Measured:
    """The same with the seconds in which the batches of a step, or one batch, are made."""
    return replace(
        measured,
        step=measured.step + of_step,
        weight_step=measured.weight_step + of_batch,
        evaluation=measured.evaluation + of_batch,
        selection=measured.selection + of_batch if measured.selection else 0.0,
        tuning_step=measured.tuning_step + of_batch if measured.tuning_step else 0.0,
    )


def _data_timing(job: Job, kind: SampleKind, device: torch.device, *, num_batches: int, repeats: int) -> Timing:
    """Duration of making the batches of a step, from images that are in memory."""
    assert job.batch_size
    batches = random_batches(kind, job.batch_size, num_batches, seed=job.seed, device=device)

    def all_batches() -> None:
        for _ in batches.epoch(0):
            pass

    measured_seconds(all_batches, device)
    return _timing(all_batches, device, repeats)


def expensive_operations(work: Callable[[], object], device: torch.device) -> tuple[Operation, ...]:
    """The ten operations that take most of the time of `work`, the most expensive first."""
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


def _max_batch_size(memory: Mapping[int, int], available: int) -> int | None:
    """The largest batch that fits, extrapolated from the memory of the two largest batches that were measured."""
    largest = dict(sorted(memory.items())[-2:])
    if len(largest) < 2 or largest[max(largest)] <= largest[min(largest)]:
        return None
    return largest_batch(largest, int((1 - RESERVE) * available))


def device_and_threads(device: torch.device) -> str:
    """Name of the GPU, or of the CPU with PyTorch's number of threads."""
    name = device_name(device)
    return name if device.type == "cuda" else f"{name}, {number_of(torch.get_num_threads(), 'thread')}"
