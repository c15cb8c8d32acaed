"""Stopping, or more weight decay, when the validation loss becomes sharp in the alphas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dnas.searching.observer.base import EpochReport, GoBack, Observer, Stop
from dnas.searching.observer.eigenvalue import measure
from dnas.system.accepted import accept
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Sharpening:
    """Tells when the eigenvalue has grown too much (RobustDARTS, Zela et al. 2020, https://arxiv.org/abs/1909.09656,
    section 4.3; official code read: automl/RobustDARTS, src/utils.py, `EVLocalAvg`).

    The condition, over local averages a_i of the last `window` eigenvalues, is a_i / a_(i - delta) > factor. An average
    belongs to the epoch in the middle of its window, so growth that is noticed now began `delta` measurements before
    that.

    Args:
        factor: growth factor; the paper writes its inverse, 0.75.
        delta: measurements between the two averages.
        window: number of eigenvalues in an average; the first averages have fewer.
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
        accept(self)
        if not self.factor > 0 or min(self.delta, self.window, self.every, self.iterations) < 1 or self.start < 0:
            raise UserError(
                "factor must be above 0, delta, window, every and iterations at least 1, start 0 or more; got "
                f"{self.factor}, {self.delta}, {self.window}, {self.every}, {self.iterations} and {self.start}."
            )

    def noticed(self, report: EpochReport) -> int | None:
        """The epoch at which the growth began, if it is noticed now; the measurements are kept in `memory`.

        As in the official code, nothing is noticed at the end of the search.
        """
        value = measure(report, self.every, self.iterations)
        if value is None:
            return None
        report.memory["eigenvalues"] = [*report.memory.get("eigenvalues", []), value]
        return None if report.progress >= 1 else self.epoch_of(report.epoch, report.memory["eigenvalues"])

    def earliest(self, first: int) -> int:
        """The first epoch in which growth can be noticed, if the alphas are trained from epoch `first` on."""
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
        # As in the official code, of two negative averages the one of larger magnitude counts as grown.
        return began if before != 0 and averages[-1] / before > self.factor else None


def local_averages(values: Sequence[float], window: int) -> list[float]:
    """Means of the last `window` values, at each time that has at least half as many values (rounded up)."""
    first = math.ceil(window / 2)
    parts = [values[max(0, end - window) : end] for end in range(first, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


@dataclass(frozen=True)
class EigenvalueStop(Observer):
    """RobustDARTS-ES: ends the search with the alphas of the epoch at which the growth began.

    Args:
        sharpening: tells when the eigenvalue has grown too much.
    """

    sharpening: Sharpening = Sharpening()

    def __post_init__(self) -> None:
        accept(self)

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        began = self.sharpening.noticed(report)
        return None if began is None else Stop(began)


@dataclass(frozen=True)
class AdaptiveDecay(Observer):
    """RobustDARTS-ADA: when the eigenvalue has grown too much, the search goes back to the epoch at which the growth
    began, and continues with more weight decay on the weights (official code read: automl/RobustDARTS,
    src/search/train_search.py).

    At the largest weight decay the search continues without going back. Repeated epochs see the same batches again; in
    the official code the generators run on. Eigenvalues go back with everything else; the official code reads those of
    the earlier epoch too, but into a tracker that it does not use afterwards. Its weight decay may exceed the largest
    one if the multiplier does not lead exactly to it; ours is limited to it.

    Args:
        sharpening: tells when the eigenvalue has grown too much.
        multiplier: factor by which the weight decay grows.
        largest: upper limit of the weight decay.
        extra: epochs to go back further than the start of the growth, at most `sharpening.start`.
    """

    sharpening: Sharpening = Sharpening()
    multiplier: float = 3.0
    largest: float = 0.0243
    extra: int = 0

    def __post_init__(self) -> None:
        accept(self)
        if not (self.multiplier > 1 and self.largest > 0):
            raise UserError(
                f"multiplier must be above 1 and largest above 0; got {self.multiplier} and {self.largest}."
            )
        if not 0 <= self.extra <= self.sharpening.start:
            raise UserError(f"extra must be from 0 to start = {self.sharpening.start}; got {self.extra}.")

    def epoch_ended(self, report: EpochReport) -> GoBack | None:
        began, groups = self.sharpening.noticed(report), report.weight_optimizer.param_groups
        decay = report.scalars["weight_decay"] = max(group["weight_decay"] for group in groups)
        if began is None or decay >= self.largest:
            return None
        for group in groups:
            group["weight_decay"] = min(self.multiplier * group["weight_decay"], self.largest)
        return GoBack(began - self.extra)

    def may_go_back_to(self, epoch: int) -> bool:
        began = epoch + self.extra
        return began > self.sharpening.start and (began - 1) % self.sharpening.every == 0
