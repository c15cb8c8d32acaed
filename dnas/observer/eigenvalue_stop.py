"""Stopping, or more weight decay, when the validation loss becomes sharp in the alphas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dnas.observer.base import EpochReport, Observer, Stop
from dnas.observer.eigenvalue import measure


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
            raise ValueError(
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
    """RobustDARTS-ADA: more weight decay on the weights, each time the eigenvalue has grown too much.

    The official code goes back to the weights and alphas of an earlier epoch and trains on from there; here the search
    goes on from where it is, and looks at eigenvalues measured from then on.

    Args:
        sharpening: when.
        multiplier: of the weight decay.
        largest: weight decay that is not exceeded.
    """

    sharpening: Sharpening = Sharpening()
    multiplier: float = 3.0
    largest: float = 0.0243

    def __post_init__(self) -> None:
        if not (self.multiplier > 1 and self.largest > 0):
            raise ValueError(
                f"multiplier must be above 1 and largest above 0; got {self.multiplier} and {self.largest}."
            )

    def epoch_ended(self, report: EpochReport) -> Stop | None:
        if self.sharpening.noticed(report) is not None:
            report.memory["eigenvalues"] = []
            for group in report.weight_optimizer.param_groups:
                group["weight_decay"] = min(self.multiplier * group["weight_decay"], self.largest)
        report.scalars["weight_decay"] = report.weight_optimizer.param_groups[0]["weight_decay"]
        return None
