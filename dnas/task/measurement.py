"""The loss and all metrics of a task over many batches, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dnas.core.batch import tensors_in
from dnas.core.described import described
from dnas.system.errors import NonFiniteLoss, UserError, in_own_code
from dnas.task.base import Task
from dnas.task.interval import bootstrap_interval, wilson_interval
from dnas.task.metric import Metric, StatefulMetric

LOSS = "loss"
# Outputs and targets are kept for the intervals of metrics with state, up to so many numbers in all.
_KEPT_NUMBERS = 2**25
# Drawing from fewer batch means would give an interval that is far too narrow.
_FEWEST_BATCHES = 10


@dataclass(frozen=True)
class Measured:
    """One metric's value.

    Args:
        value: over all samples.
        interval: 95 % interval for samples of the same kind; None where there is no way to tell.
        better: which values are better.
    """

    value: float
    interval: tuple[float, float] | None
    better: Literal["higher", "lower"]

    def is_better(self, other: float) -> bool:
        """Whether this value is strictly better than another one of the same metric."""
        return self.value > other if self.better == "higher" else self.value < other


@dataclass(frozen=True)
class Measurement:
    """What a network does on samples that it has not seen.

    Args:
        num_samples: number of samples.
        loss: mean of the criterion over the samples.
        values: every metric by name.
    """

    num_samples: int
    loss: float
    values: Mapping[str, Measured]

    @property
    def deciding(self) -> str:
        """The name of the metric that decides which network is best: the first one, or 'loss' if there is none."""
        return next(iter(self.values), LOSS)

    @property
    def score(self) -> Measured:
        """The value that decides."""
        return self.values[self.deciding] if self.values else Measured(self.loss, None, "lower")


def measure(task: Task, results: Iterable[tuple[Any, Any]]) -> Measurement:
    """Measure outputs against targets, batch by batch.

    Args:
        task: what outputs and targets mean.
        results: `(outputs, targets)` of each batch.

    Raises:
        UserError: no batch, or outputs, targets and task do not fit.
        NonFiniteLoss: an output is NaN or infinite.
    """
    tally = Tally(task)
    for outputs, targets in results:
        tally.add(outputs, targets)
    return tally.measurement()


class Tally:
    """Sums over batches, kept on the device until the end.

    Args:
        task: what outputs and targets mean.
        intervals: whether values get intervals, which take some time where there is no formula.
    """

    def __init__(self, task: Task, *, intervals: bool = True) -> None:
        self.task = task
        self.intervals = intervals
        self.metrics = task.metrics()
        self.losses: list[Tensor] = []
        self.weights: list[Tensor] = []  # of each sample
        self.values: dict[str, list[Tensor]] = {name: [] for name in self.metrics}  # of each sample, or of each batch
        self.kept: list[tuple[Any, Any]] | None = []
        self.num_kept = 0
        self.non_finite: list[Tensor] = []
        for metric in self.metrics.values():
            if isinstance(metric.measure, StatefulMetric):
                metric.measure.reset()

    def add(self, outputs: Any, targets: Any) -> None:
        """Take in one batch.

        Raises:
            UserError: outputs, targets and task do not fit.
        """
        outputs = self.task.read(outputs)
        self.task.check(outputs, targets)
        weights = self.task.weights(outputs, targets)
        self.weights.append(weights)
        with self._called("criterion", outputs, targets):
            loss = _total(self.task.criterion(outputs, targets))
        self.losses.append(loss.detach().double())
        self.non_finite.append(_non_finite(outputs, len(weights)))
        for name, metric in self.metrics.items():
            with self._called(f"metric {name!r}", outputs, targets):
                if isinstance(metric.measure, StatefulMetric):
                    metric.measure.update(outputs, targets)
                else:
                    self.values[name].append(_values(name, metric.measure(outputs, targets), len(weights)))
        self._keep(outputs, targets)

    def _called(self, what: str, outputs: Any, targets: Any) -> AbstractContextManager[None]:
        """Within the block a part of the user's own is called, whose errors are told with what it was given."""
        return in_own_code(
            lambda: f"The {what} cannot take outputs, {described(outputs)}, and targets, {described(targets)}"
        )

    def _keep(self, outputs: Any, targets: Any) -> None:
        """Keep a batch for the intervals of metrics with state, where that is one tensor each and not too much."""
        if not self.intervals or not any(isinstance(m.measure, StatefulMetric) for m in self.metrics.values()):
            return
        if self.kept is None or not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            self.kept = None
            return
        self.num_kept += outputs.numel() + targets.numel()
        if self.num_kept > _KEPT_NUMBERS:
            self.kept = None
        else:
            self.kept.append((outputs.detach(), targets))

    def measurement(self) -> Measurement:
        """All values.

        Raises:
            UserError: there was no batch.
            NonFiniteLoss: outputs were NaN or infinite.
        """
        if not self.losses:
            raise UserError("There is nothing to evaluate on: the data hold no batch.")
        bad = int(torch.stack(self.non_finite).sum())
        if bad:
            raise NonFiniteLoss(
                f"The network's outputs are NaN or infinite for {bad} of {sum(map(len, self.weights))} samples: its "
                "training has diverged (lower the learning rate), or the inputs are not finite."
            )
        weights = [weight.double().cpu() for weight in self.weights]
        per_batch = torch.stack([weight.sum() for weight in weights])
        if float(per_batch.sum()) <= 0:
            raise UserError("There is nothing to evaluate on: no sample counts, all targets are ignored.")
        losses = torch.stack(self.losses).cpu()
        counting = per_batch > 0  # a batch whose targets are all ignored has no mean
        return Measurement(
            num_samples=sum(len(weight) for weight in weights),
            loss=float((losses[counting] * per_batch[counting]).sum() / per_batch.sum()),
            values={name: self._measured(name, metric, weights) for name, metric in self.metrics.items()},
        )

    def _measured(self, name: str, metric: Metric, weights: list[Tensor]) -> Measured:
        if isinstance(metric.measure, StatefulMetric):
            value = _number(name, metric.measure.compute())
            interval = self._resampled(name, metric.measure) if self.intervals else None
            return Measured(value, interval, metric.better)
        values = [value.double().cpu() for value in self.values[name]]
        if all(len(value) == len(weight) for value, weight in zip(values, weights, strict=True)):
            of_samples, counts = torch.cat(values), torch.cat(weights)
        else:  # one mean per batch: batches are what can be drawn again
            of_samples = torch.stack([value.mean() for value in values])
            counts = torch.stack([weight.sum() for weight in weights])
            enough = len(values) >= _FEWEST_BATCHES
            return mean_of(of_samples, counts, metric.better, intervals=self.intervals and enough)
        return mean_of(of_samples, counts, metric.better, intervals=self.intervals)

    def _resampled(self, name: str, metric: StatefulMetric) -> tuple[float, float] | None:
        if not self.kept:
            return None
        outputs, targets = (torch.cat([batch[part] for batch in self.kept]) for part in (0, 1))
        if len(outputs) != len(targets):
            return None

        def statistic(chosen: Tensor) -> float:
            chosen = chosen.to(outputs.device)
            metric.reset()
            metric.update(outputs[chosen], targets[chosen])
            return _number(name, metric.compute())

        return bootstrap_interval(statistic, len(outputs))


def mean_of(values: Tensor, counts: Tensor, better: Literal["higher", "lower"], *, intervals: bool) -> Measured:
    """The mean of values with these counts, with its interval: Wilson's for shares of samples, else by bootstrap."""
    mean = float((values[counts > 0] * counts[counts > 0]).sum() / counts.sum())
    if not intervals:
        return Measured(mean, None, better)
    if bool(((values == 0) | (values == 1)).all()) and bool((counts == 1).all()):
        return Measured(mean, wilson_interval(mean, len(values)), better)

    def statistic(chosen: Tensor) -> float:
        drawn = counts[chosen]
        some = drawn > 0
        return float((values[chosen][some] * drawn[some]).sum() / drawn.sum()) if bool(some.any()) else math.nan

    return Measured(mean, bootstrap_interval(statistic, len(values)), better)


def _total(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    terms = value if isinstance(value, Mapping) else {"loss": value}
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            raise UserError(
                f"The criterion must give a scalar tensor, or a dict of named ones; its {name!r} is {described(term)}."
            )
    return torch.stack([term.double() for term in terms.values()]).sum() if isinstance(value, Mapping) else value


def _values(name: str, given: Any, num_samples: int) -> Tensor:
    if not isinstance(given, Tensor | int | float):
        raise UserError(f"The metric {name!r} must give a tensor or a number; got {described(given)}.")
    values = given.detach() if isinstance(given, Tensor) else torch.tensor(given, dtype=torch.float64)
    if values.ndim == 0:
        return values[None]
    if values.shape != (num_samples,):
        raise UserError(
            f"The metric {name!r} must give one value per sample, ({num_samples},), or one number for the batch; got a "
            f"tensor {tuple(values.shape)}."
        )
    return values


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if not isinstance(value, int | float):
        raise UserError(f"The metric {name!r} must compute one number; got {described(value)}.")
    return float(value)


def _non_finite(outputs: Any, num_samples: int) -> Tensor:
    """Number of samples with a NaN or infinite output; all of a batch where outputs are not one row per sample."""
    bad = torch.zeros(num_samples, dtype=torch.bool)
    for tensor in tensors_in(outputs):
        if tensor.is_floating_point():
            finite = tensor.isfinite()
            of_samples = finite.ndim > 0 and len(finite) == num_samples
            bad = bad.to(tensor.device) | ~(finite.reshape(num_samples, -1).all(1) if of_samples else finite.all())
    return bad.sum()
