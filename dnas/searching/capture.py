"""A whole search step, recorded once and then replayed: one launch instead of thousands of small ones.

A CUDA graph keeps its kernels together with the addresses that they work on. Batches are therefore copied into fixed
buffers. Whatever the host decides in a step (learning rates, what is frozen or ruled out) is part of the record, and
when that changes the step is recorded again. https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from dnas.core.batch import Batch, map_tensors, tensors_in

T = TypeVar("T")

# Steps taken as usual before one is recorded: optimizers create their state, and libraries choose their algorithms.
WARMUP_STEPS = 3
# A replayed step must move weights and alphas as the usual step does, up to this share of the movement's norm. TF32 and
# a different order of summation differ by much less, a stale buffer by much more.
TOLERANCE = 0.01


class Recorder(ABC):
    """Records the kernels that are launched while a function runs."""

    @abstractmethod
    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Record `work` without executing it.

        Returns:
            The return value of `work`, whose tensors get their values from each replay, and the function that replays.

        Raises:
            RuntimeError: something in `work` cannot be recorded.
        """


@dataclass(frozen=True)
class CudaRecorder(Recorder):
    """Records a CUDA graph.

    Args:
        generators: generators on the GPU, besides the default one, from which `work` draws.
    """

    generators: Sequence[torch.Generator] = ()

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            result = work()
        return result, graph.replay


@dataclass
class _Record:
    """One recorded step."""

    baked: Hashable
    batches: Sequence[Batch]
    result: Any
    replay: Callable[[], None]


class StepCapture:
    """Takes steps by replaying a record; the first steps, and steps of another batch size, are taken as usual.

    The first replay is compared with the same step taken as usual. If they differ, or if a step cannot be recorded, all
    later steps are taken as usual, and `say` is told why.

    Args:
        recorder: records a step.
        state: every tensor that a step changes, in groups such as weights and alphas. Each group is compared
            separately, so that small movements do not hide behind large ones.
        generators: generators whose states a step changes.
        say: shows a line to a person.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        state: Callable[[], Sequence[Sequence[Tensor]]],
        generators: Sequence[torch.Generator],
        say: Callable[[str], None],
    ):
        self.recorder = recorder
        self.state = state
        self.generators = generators
        self.say = say
        self.given_up = False
        self.num_records = 0
        self._steps_as_usual = 0
        self._shapes: Hashable = None
        self._record: _Record | None = None
        self._is_checked = False

    def __call__(self, batches: Sequence[Batch], baked: Hashable, work: Callable[[Sequence[Batch]], T]) -> T:
        """Take one step.

        Args:
            batches: the batches of this step.
            baked: everything that `work` reads on the host and that may change between steps.
            work: the step, as a function of the batches.
        """
        shapes = tuple(tuple(tensor.shape) for batch in batches for tensor in tensors_in(batch))
        if self._shapes is None:
            self._shapes = shapes
        if self.given_up or shapes != self._shapes or self._steps_as_usual < WARMUP_STEPS:
            self._steps_as_usual += shapes == self._shapes
            return work(batches)
        if self._record is None or self._record.baked != baked:
            self._record = None  # frees its memory for the new record
            try:
                self._record = self._recorded(batches, baked, work)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                return self._give_up(f"it cannot be recorded ({str(error).splitlines()[0]})", batches, work)
        _copy(batches, self._record.batches)
        if not self._is_checked:
            self._is_checked = True
            difference = self._difference(self._record, work)
            if not difference <= TOLERANCE:
                return self._give_up(f"replayed it differs by {difference:.2g} of its movement", batches, work)
        else:
            self._record.replay()
        return self._record.result

    def _recorded(self, batches: Sequence[Batch], baked: Hashable, work: Callable[[Sequence[Batch]], Any]) -> _Record:
        buffers = [map_tensors(torch.empty_like, batch) for batch in batches]
        _copy(batches, buffers)
        result, replay = self.recorder.record(lambda: work(buffers))
        self.num_records += 1
        return _Record(baked, buffers, result, replay)

    def _give_up(self, why: str, batches: Sequence[Batch], work: Callable[[Sequence[Batch]], T]) -> T:
        self.given_up, self._record = True, None
        self.say(f"Search steps are not replayed as a CUDA graph: {why}. They are taken as usual, which is slower.")
        return work(batches)

    def _difference(self, record: _Record, work: Callable[[Sequence[Batch]], Any]) -> float:
        """|replayed - usual| / |usual - before|, the largest over all groups; the tensors stay as the replay left them.

        If the two differ too much, all tensors are as before the step.
        """
        groups = [[tensor.detach() for tensor in group] for group in self.state()]
        random = [generator.get_state() for generator in self.generators]
        before = [_copies(group) for group in groups]
        work(record.batches)
        usual = [_copies(group) for group in groups]
        self._restore(groups, before, random)
        record.replay()
        difference = max(
            _distance(now, then) / max(_distance(then, start), 1e-30)
            for now, then, start in zip(groups, usual, before, strict=True)
        )
        if not difference <= TOLERANCE:
            self._restore(groups, before, random)
        return difference

    def _restore(
        self, groups: Sequence[Sequence[Tensor]], values: Sequence[Sequence[Tensor]], random: Sequence[Tensor]
    ) -> None:
        for group, saved in zip(groups, values, strict=True):
            for tensor, value in zip(group, saved, strict=True):
                tensor.copy_(value)
        for generator, state in zip(self.generators, random, strict=True):
            generator.set_state(state)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors that an optimizer keeps for the weights: momentum, moments, step counts."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Euclidean distance between two lists of tensors, over all entries."""
    parts = (float(torch.linalg.vector_norm(a.double() - b.double())) for a, b in zip(first, second, strict=True))
    return math.hypot(*parts)


def _copy(source: Sequence[Batch], target: Sequence[Batch]) -> None:
    for batch, buffers in zip(source, target, strict=True):
        for tensor, buffer in zip(tensors_in(batch), tensors_in(buffers), strict=True):
            buffer.copy_(tensor)
