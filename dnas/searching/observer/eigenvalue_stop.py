"""Stopping, or more weight decay, when the validation loss becomes sharp in the alphas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dnas.searching.observer.base import EpochReport, GoBack, Observer, Stop
from dnas.searching.observer.eigenvalue import measure
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Sharpening:
    """When the eigenvalue has grown too much (RobustDARTS, Zela et al. 2020, https://arxiv.org/abs/1909.09656, section
    4.3; official code read: automl/RobustDARTS, src/utils.py, `EVLocalAvg`).

    Over local averages a_i of the last `window` eigenvalues: a_i / a_(i - delta) > factor. An average belongs to the
    epoch in the middle of its window, so what is noticed now began `delta` measurements before that.

    Args:
        factor: of growth; the paper writes the inverse, 0.75.
        delta: measurements between the two averages.
        window: eigenvalues in an average; the first ones are over fewer.
        start: the search is never cut to this epoch or an earlier one.
        every: epochs between two measurements.
        iterations: products with the Hessian in a measurement, see `largest_eigenvalue`.
    """

    factor: float = 1.3
    delta: int = 4
    window: int = 5
    start: int = 10
    every: int = 1
    iterations: int = 20

    def __post_init__(self) -> None:
        if not self.factor > 0 or min(self.delta, self.window, self.every, self.iterations) < 1 or self.start < 0:
            raise UserError(
                "factor must be above 0, delta, window, every and iterations at least 1, start 0 or more; got "
                f"{self.factor}, {self.delta}, {self.window}, {self.every}, {self.iterations} and {self.start}."
            )

    def noticed(self, report: EpochReport) -> int | None:
        """The epoch at which the growth began, where it is noticed now; what was measured is kept in `memory`.

        At the end of the search nothing is noticed any more, as in the official code.
        """
        value = measure(report, self.every, self.iterations)
        if value is None:
            return None
        report.memory["eigenvalues"] = [*report.memory.get("eigenvalues", []), value]
        return None if report.progress >= 1 else self.epoch_of(report.epoch, report.memory["eigenvalues"])

    def earliest(self, first: int) -> int:
        """The first epoch in which a growth can be noticed, where the alphas are trained from epoch `first` on."""
        measured = first + (1 - first) % self.every
        enough = measured + self.every * (self.delta + math.ceil(self.window / 2) - 1)  # values for two averages
        late = self.start + self.every * (self.window // 2 + self.delta) + 1
        return enough + max(0, math.ceil((late - enough) / self.every)) * self.every

    def epoch_of(self, epoch: int, values: Sequence[float]) -> int | None:
        """As `noticed`, for all values so far, the last of which was measured after `epoch`."""
        averages = local_averages(values, self.window)
        began = epoch - self.every * (self.window // 2 + self.delta)
        if began <= self.start or len(averages) <= self.delta:
            return None
        before = averages[-1 - self.delta]
        # As the official code: of two negative averages the one of larger size counts as grown.
        return began if before != 0 and averages[-1] / before > self.factor else None


def local_averages(values: Sequence[float], window: int) -> list[float]:
    """Means of the last `window` values at each time when there are at least half as many, rounded up."""
    first = math.ceil(window / 2)
    parts = [values[max(0, end - window) : end] for end in range(first, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


@dataclass(frozen=True)
class EigenvalueStop(Observer):
    """RobustDARTS-ES: ends the search, with the alphas of the epoch at which the growth began.

    Args:
        sharpening: when.
    """

    sharpening: Sharpening = Sharpening()

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        began = self.sharpening.noticed(report)
        return None if began is None else Stop(began)


@dataclass(frozen=True)
class AdaptiveDecay(Observer):
    """RobustDARTS-ADA: each time the eigenvalue has grown too much, the search goes back to the epoch at which the
    growth began, and on from there with more weight decay on the weights (official code read: automl/RobustDARTS,
    src/search/train_search.py).

    At the largest weight decay the search goes on without going back. Epochs that are repeated see the same batches
    again, where the generators of the official code go on. Eigenvalues go back with everything else: the official code
    reads those of the earlier epoch too, but into a tracker that it does not use then. Its weight decay may exceed the
    largest one where the multiplier does not lead to it; ours is cut to it.

    Args:
        sharpening: when.
        multiplier: of the weight decay.
        largest: weight decay that is not exceeded.
        extra: epochs to go back further than the growth began, at most `sharpening.start`.
    """

    sharpening: Sharpening = Sharpening()
    multiplier: float = 3.0
    largest: float = 0.0243
    extra: int = 0

    def __post_init__(self) -> None:
        if not (self.multiplier > 1 and self.largest > 0):
            raise UserError(
                f"multiplier must be above 1 and largest above 0; got {self.multiplier} and {self.largest}."
            )
        if not 0 <= self.extra <= self.sharpening.start:
            raise UserError(f"extra must be from 0 to start = {self.sharpening.start}; got {self.extra}.")

    def epoch_ended(self, report: EpochReport) -> GoBack | None:
        began, groups = self.sharpening.noticed(report), report.weight_optimizer.param_groups
        decay = report.scalars["weight_decay"] = groups[0]["weight_decay"]
        if began is None or decay >= self.largest:
            return None
        for group in groups:
            group["weight_decay"] = min(self.multiplier * group["weight_decay"], self.largest)
        return GoBack(began - self.extra)

    def may_go_back_to(self, epoch: int) -> bool:
        began = epoch + self.extra
        return began > self.sharpening.start and (began - 1) % self.sharpening.every == 0
