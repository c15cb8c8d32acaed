"""The FLOPs of a search step, and the bytes that its operators read and write."""

from __future__ import annotations

import statistics
from dataclasses import replace

import torch

from dnas.cost.traffic import TrafficCounter
from dnas.cost.work import WorkCounter
from dnas.data.sample_kind import SampleKind
from dnas.jobs.job import Job
from dnas.jobs.planning.trial import Trial
from dnas.jobs.profile.stopwatch import ARCHITECTURE, WEIGHT, at_ends
from dnas.jobs.profile.values import StepFlops
from dnas.system.devices import named_device
from dnas.system.random_state import seeded

# FLOPs are counted on this many images and multiplied; batch norm needs two.
_COUNTED_BATCH = 2
# If a step draws candidates, the FLOPs are the mean of this many draws.
_DRAWS = 8


def search_step_flops(job: Job, kind: SampleKind) -> StepFlops:
    """FLOPs of one step of `job.batch_size` images, counted on the CPU for a small batch and multiplied.

    They are proportional to the batch size, since operations on weights alone are not counted.

    Args:
        job: job with all sizes.
        kind: what the samples are like.
    """
    assert job.batch_size
    plain = replace(job, kernels="plain")  # the counter does not see what kernels do
    with seeded(job.seed):
        trial = Trial(plain, kind, batch_size=_COUNTED_BATCH, device=torch.device("cpu"))
        random = any(mixture.active is not None for mixture in trial.draw().values())
        counts = [_counted_step(trial) for _ in range(_DRAWS if random else 1)]
    scale = job.batch_size / _COUNTED_BATCH
    return StepFlops(
        scale * statistics.fmean(count.architecture for count in counts),
        scale * statistics.fmean(count.weight for count in counts),
        scale * statistics.fmean(count.observers for count in counts),
    )


def search_step_bytes(job: Job, kind: SampleKind) -> float:
    """Bytes that the operators of one step of `job.batch_size` images read and write, each its inputs and outputs once.

    Counted on the CPU for two small batches, which tell what every image adds to what the weights alone take. If a step
    draws candidates, it is the mean of several draws. Compiled kernels count where the job takes them on a CPU, those
    of a GPU do not.

    Args:
        job: job with all sizes.
        kind: what the samples are like.
    """
    assert job.batch_size
    counted = job if named_device(job.device).type == "cpu" else replace(job, kernels="plain")
    small, large = (_bytes(counted, kind, batch) for batch in (_COUNTED_BATCH, 2 * _COUNTED_BATCH))
    return small + (large - small) / _COUNTED_BATCH * (job.batch_size - _COUNTED_BATCH)


def _bytes(job: Job, kind: SampleKind, batch_size: int) -> float:
    with seeded(job.seed):
        trial = Trial(job, kind, batch_size=batch_size, device=torch.device("cpu"))
        trial.step()  # optimizers make their state in their first step
        random = any(mixture.active is not None for mixture in trial.draw().values())
        steps = _DRAWS if random else 1
        with TrafficCounter() as counter:
            for _ in range(steps):
                trial.step()
    return counter.num_bytes / steps


def _counted_step(trial: Trial) -> StepFlops:
    at = {ARCHITECTURE: 0, WEIGHT: 0}
    with WorkCounter() as counter:
        handles = at_ends(trial, lambda part: at.update({part: counter.flops}))
        try:
            trial.step()
        finally:
            for handle in handles:
                handle.remove()
    return StepFlops(at[ARCHITECTURE], at[WEIGHT] - at[ARCHITECTURE], counter.flops - at[WEIGHT])
