"""The largest sizes that fit the time and the memory, found by measuring few steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dnas.jobs.job import Job
from dnas.system.errors import UserError
from dnas.system.memory import RESERVE, check_batch_fits, gibibytes

# Predictions may be wrong by this factor, so a size is measured if it could still fit.
HOPE = 1.5
# The image size of samples that are no images.
NO_IMAGE = 1
# One measurement runs about this many steps.
STEPS_MEASURED = 5
# Batch sizes of the two measurements that predictions start from.
_TINY, _SMALL = 4, 16
# A step holds at least this many numbers per image, pixel, channel and cell, and this many numbers per squared channel
# and cell for four copies of the weights: weights, gradients, momentum, virtual step. DARTS was measured to hold at
# least three times as many.
_LEAST_NUMBERS, _LEAST_WEIGHTS = 20, 40


class Sizes(NamedTuple):
    """The sizes that time and memory of a step depend on; the image size is in pixels, the batch size in images.

    Samples that are no images count as those of one pixel, which matters little: their network has a single size.
    """

    image_size: int
    batch_size: int
    channels: int
    cells: int

    @staticmethod
    def of(job: Job) -> Sizes:
        """The sizes of a job that has all of them; a module of the user's own counts as one channel and one cell."""
        assert job.batch_size and not job.missing_sizes
        network = (job.channels or 1, job.cells or 1) if job.model is None else (1, 1)
        return Sizes(job.image_size or NO_IMAGE, job.batch_size, *network)

    def given_to(self, job: Job) -> Job:
        """The job with these sizes."""
        if job.model is not None:
            image_size = job.image_size or (None if self.image_size == NO_IMAGE else self.image_size)
            return replace(job, image_size=image_size, batch_size=self.batch_size, channels=None, cells=None)
        return replace(job, **self._asdict())

    @property
    def work(self) -> float:
        """A number proportional to the seconds of large steps; channels count between linearly and squared."""
        return self.batch_size * self.image_size**2 * self.channels**1.5 * self.cells

    @property
    def volume(self) -> int:
        """A number proportional to the activations that a step holds in memory."""
        return self.batch_size * self.image_size**2 * self.channels * self.cells

    @property
    def least_memory(self) -> int:
        """A lower bound for the bytes that a step takes."""
        return 4 * (_LEAST_NUMBERS * self.volume + _LEAST_WEIGHTS * self.channels**2 * self.cells)


@dataclass(frozen=True)
class Measured:
    """Time and memory that were measured at given sizes.

    Args:
        step: seconds of a step, with the making of its batches.
        weight_step: seconds of a step of the weights alone, as in the warm-up.
        evaluation: seconds of the evaluation of one batch.
        memory: bytes at the peak, on a CPU of the process, on a GPU of the tensors.
        taken: seconds that the measurement took.
        epoch_end: seconds at the end of an epoch, in which observers look at the search.
        selection: seconds of evaluating, on one batch, the parts of the supernet that the discretization asks for.
        tuning_step: seconds of a weight step with the parts of the supernet that the discretization trains.
        finalist_step: seconds of a step of training a finalist; 0 without finalists.
        finalist_evaluation: seconds of evaluating one on a batch.
    """

    step: float
    weight_step: float
    evaluation: float
    memory: int
    taken: float = 0.0
    epoch_end: float = 0.0
    selection: float = 0.0
    tuning_step: float = 0.0
    finalist_step: float = 0.0
    finalist_evaluation: float = 0.0

    def times(self, factor: float, memory: int) -> Measured:
        """The same with all seconds multiplied by a factor, and another memory."""
        return Measured(
            step=self.step * factor,
            weight_step=self.weight_step * factor,
            evaluation=self.evaluation * factor,
            memory=memory,
            epoch_end=self.epoch_end * factor,
            selection=self.selection * factor,
            tuning_step=self.tuning_step * factor,
            finalist_step=self.finalist_step * factor,
            finalist_evaluation=self.finalist_evaluation * factor,
        )


Measure = Callable[[Sizes], Measured]


@dataclass(frozen=True)
class Limits:
    """The time and the memory that may be used.

    Args:
        seconds: seconds for the whole work.
        memory: bytes.
        planning: seconds for measuring.
    """

    seconds: float
    memory: int
    planning: float


class Scaling:
    """Predicts time and memory of a step from two batch sizes of one network.

    seconds = a cells + b work, bytes = c + d volume
    """

    def __init__(self, sizes: Sizes, measure: Measure):
        few, more = (sizes._replace(batch_size=min(batch, sizes.batch_size)) for batch in (_TINY, _SMALL))
        self.measured = {each: measure(each) for each in dict.fromkeys([few, more])}
        self.taken = sum(measured.taken for measured in self.measured.values())
        self._largest = more
        first, last = self.measured[few], self.measured[more]
        # If only one batch size can be measured, all time counts as work.
        self._per_work = (
            last.step / more.work if few == more else max(last.step - first.step, 0.0) / (more.work - few.work)
        )
        self._per_cell = max(last.step - self._per_work * more.work, 0.0) / sizes.cells
        self._per_volume = 0.0 if few == more else max(last.memory - first.memory, 0) / (more.volume - few.volume)
        self._factor = 1.0

    def __call__(self, sizes: Sizes) -> Measured:
        known = self.measured[self._largest]
        step = self._factor * (self._per_cell * sizes.cells + self._per_work * sizes.work)
        memory = known.memory + self._per_volume * max(sizes.volume - self._largest.volume, 0)
        return known.times(step / known.step, round(memory))

    def correct(self, sizes: Sizes, measured: Measured) -> None:
        """Scale later predictions so that they agree with a measurement."""
        self._factor *= measured.step / self(sizes).step

    def check_memory(self, sizes: Sizes, available: int) -> None:
        """Check that a step will fit into memory.

        Raises:
            UserError: it will not fit; the message says which batch would.
        """
        memory = {each.batch_size: measured.memory for each, measured in self.measured.items()}
        if len(memory) == 2:
            check_batch_fits(memory, available, sizes.batch_size)


def largest_that_fits(
    ladder: Sequence[Sizes], measure: Measure, needed: Callable[[Sizes, Measured], tuple[float, int]], limits: Limits
) -> tuple[Sizes, Measured]:
    """The largest sizes that fit; if none do, the smallest, which may take too long.

    The smallest sizes are measured with few images, and the others are predicted from that. Sizes that could fit are
    measured, which corrects the predictions, and the first that do fit are taken. If measuring would itself take too
    long, a cautious prediction decides.

    Args:
        ladder: sizes from large to small.
        measure: measures a step at given sizes.
        needed: seconds and bytes of the whole work, from what was measured at given sizes.
        limits: the time and the memory that may be used.

    Raises:
        UserError: memory does not even hold the smallest sizes.
    """
    _check_least_memory(ladder[-1], limits.memory)
    scaling = Scaling(ladder[-1], measure)
    scaling.check_memory(ladder[-1], limits.memory)
    usable = (1 - RESERVE) * limits.memory
    rest = limits.planning - scaling.taken
    for sizes in ladder:
        expected = scaling(sizes)
        duration, memory = needed(sizes, expected)
        last = sizes == ladder[-1]
        if not last and (duration > HOPE * limits.seconds or memory > usable):
            continue
        if STEPS_MEASURED * expected.step > rest:
            cautious = expected.times(HOPE, expected.memory) if len(ladder) > 1 else expected
            if last or needed(sizes, cautious)[0] <= limits.seconds:
                return sizes, cautious
            continue
        measured = scaling.measured.get(sizes) or measure(sizes)
        rest -= measured.taken
        duration, memory = needed(sizes, measured)
        if last or (duration <= limits.seconds and memory <= usable):
            return sizes, measured
        scaling.correct(sizes, measured)
    raise AssertionError("the last is always taken")


def _check_least_memory(sizes: Sizes, available: int) -> None:
    """Check that sizes are not absurd before anything is tried: a tensor that is too large ends a process silently."""
    least = sizes._replace(batch_size=min(sizes.batch_size, _TINY)).least_memory
    if least > available:
        raise UserError(
            f"Out of memory: a step with images of {sizes.image_size} pixels, {sizes.channels} channels and "
            f"{sizes.cells} cells takes more than {gibibytes(least)}, and {gibibytes(available)} are available. "
            "Lower image_size, channels or cells."
        )
