"""What a profile holds: durations, phases of a step, FLOPs, operations, and the prediction for the whole search."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from dnas.jobs.planning.counts import Counts
from dnas.jobs.planning.fit import Measured
from dnas.system.peak import Peak


@dataclass(frozen=True)
class Timing:
    """A duration that was measured several times, in seconds.

    Args:
        median, low, high: median, minimum and maximum of the measurements.
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
        forward: seconds in the model's forward passes, of which a second-order step has several.
        backward: seconds from the end of a forward pass to the next one or to the optimizer: loss, penalties, backward
            pass, and work on gradients (clipping, the virtual step and the differences of second order).
        optimizer: seconds in the optimizer's step.
        other: seconds before the first forward pass, for drawing the mixtures and setting weights and mixtures.
    """

    forward: float
    backward: float
    optimizer: float
    other: float

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return self.forward + self.backward + self.optimizer + self.other

    def __add__(self, other: Phases) -> Phases:
        return Phases(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Phases)))


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one search step; a multiply-add counts as 2 (`dnas.cost.work.WorkCounter` says which operations count).

    Args:
        architecture: FLOPs of the architecture step: forward passes and the gradients that the method needs, which in
            first order are none of weights; 0 in a one-level search or if no alphas are trained.
        weight: FLOPs of the weight step: forward pass, gradients of inputs and weights, and in a one-level search those
            of the alphas.
        observers: FLOPs of the observers that look at the step after it.
    """

    architecture: float
    weight: float
    observers: float = 0.0

    @property
    def total(self) -> float:
        """FLOPs of the whole step."""
        return self.architecture + self.weight + self.observers


@dataclass(frozen=True)
class Operation:
    """One kind of operation in a search step.

    Args:
        name: PyTorch's name of the operation.
        count: number of calls.
        seconds: time in the operation itself, without the operations that it calls.
        share: its share of the time of all operations, 0 to 1.
    """

    name: str
    count: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """Time, memory and operations of a search on this machine.

    Args:
        device: name of the device, on a CPU with the number of threads that PyTorch uses.
        torch_version: version of PyTorch.
        image_size, batch_size, channels, cells: sizes of the search; channels and cells are None for a
            module of the user's own.
        step: duration of a search step with its observers, without making its batches. It consists of one architecture
            step, if alphas are trained, and one weight step.
        one_level: whether alphas and weights move in one pass, so that the weight step is the whole step.
        weight_steps: number of weight steps for each architecture step.
        architecture_step, weight_step, observers: medians of the phases of each part, measured in other steps than
            `step`; None for a part that the search does not have.
        data: duration of making the batches of a step (one for the weights, and one for the alphas if they have their
            own): augmenting, normalizing and moving to the device, without decoding.
        evaluation: duration of evaluating the supernet on one batch.
        memory: bytes at the peak of a step, on a CPU of the process, on a GPU of the tensors.
        available: bytes that this process may take in all.
        max_batch_size: the largest batch that fits and leaves a tenth of the memory free, extrapolated from the memory
            of two batch sizes; None if the batch is too small to tell.
        flops: FLOPs of one step.
        num_bytes: bytes that PyTorch's operators read and write in one step, each its inputs and outputs once.
        peak: the highest rates that were measured on this machine.
        operations: the most expensive operations of a step.
        work: number of steps, evaluations and epochs of the whole search.
        measured: seconds of each step, evaluation and epoch, with the making of batches.
        search_seconds: predicted seconds of the whole search on a machine as busy as now.
    """

    device: str
    torch_version: str
    image_size: int | None
    batch_size: int
    channels: int | None
    cells: int | None
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
    num_bytes: float
    peak: Peak
    operations: tuple[Operation, ...]
    work: Counts
    measured: Measured
    search_seconds: float

    @property
    def flops_per_second(self) -> float:
        """FLOPs per second reached in a step, without the making of batches."""
        return self.flops.total / self.step.median

    @property
    def share_of_peak(self) -> float:
        """`flops_per_second` relative to the rate of a large matrix product, 0 to 1."""
        return self.flops_per_second / self.peak.flops_per_second

    @property
    def bytes_per_second(self) -> float:
        """Bytes per second that the operators of a step read and write, without the making of batches."""
        return self.num_bytes / self.step.median

    @property
    def share_of_bandwidth(self) -> float:
        """`bytes_per_second` relative to the rate of a large copy; over 1 where caches serve more than memory could."""
        return self.bytes_per_second / self.peak.bytes_per_second

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON, with times in seconds and memory in bytes."""
        derived = {
            "flops_per_second": self.flops_per_second,
            "share_of_peak": self.share_of_peak,
            "bytes_per_second": self.bytes_per_second,
            "share_of_bandwidth": self.share_of_bandwidth,
        }
        return {**asdict(self), **derived}

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_data(), indent=2)


@dataclass(frozen=True)
class StagedProfile:
    """Time, memory and operations of a search in stages on this machine.

    A later stage really takes less, since candidates that are ruled out before it are counted here.

    Args:
        stages: the profile of each stage.
    """

    stages: tuple[Profile, ...]

    @property
    def search_seconds(self) -> float:
        """Predicted seconds of all stages."""
        return sum(stage.search_seconds for stage in self.stages)

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON, with times in seconds and memory in bytes."""
        return {"stages": [stage.to_data() for stage in self.stages], "search_seconds": self.search_seconds}

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_data(), indent=2)
