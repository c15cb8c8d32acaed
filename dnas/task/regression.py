"""Numbers for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.errors import UserError
from dnas.task.base import Task, logits_of
from dnas.task.metric import Metric


@dataclass(frozen=True)
class Regression(Task):
    """Outputs and targets of one shape, `(batch,)` or `(batch, ...)`; the loss is the mean squared error.

    Metrics are `mse` and `mae` (mean squared and absolute error, over all numbers of a sample), and `r2`, the share of
    the targets' variance that is explained: 1 - sum (y - f)^2 / sum (y - mean y)^2, below 0 for what is worse than the
    mean.
    """

    def read(self, outputs: Any) -> Any:
        return logits_of(outputs)

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets.to(outputs.dtype))

    def metrics(self) -> dict[str, Metric]:
        return {"mse": Metric(mse, "lower"), "mae": Metric(mae, "lower"), "r2": Metric(R2(), "higher")}

    def check(self, outputs: Any, targets: Any) -> None:
        fits = isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.shape == targets.shape
        if not fits:  # broadcasting (batch, 1) against (batch,) would compare every sample with every other
            raise UserError(
                "A regression must give one number for each target, in the same shape: the network gives "
                f"{described(outputs)}, targets are {described(targets)}."
            )


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each sample, `(batch,)`."""
    return _errors(outputs, targets).square().mean(1)


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error of each sample, `(batch,)`."""
    return _errors(outputs, targets).abs().mean(1)


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """The numbers of each sample as one row, `(batch, numbers)`."""
    return (outputs.double() - targets.double()).reshape(len(outputs), -1)


class R2:
    """1 - sum (y - f)^2 / sum (y - mean y)^2 over all numbers; NaN where all targets are equal."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.errors = torch.zeros((), dtype=torch.float64)
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self.scatter = torch.zeros((), dtype=torch.float64)  # sum of squared distances from the mean

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        y, f = targets.double().cpu().flatten(), outputs.double().cpu().flatten()
        self.errors = self.errors + (y - f).square().sum()
        # Means and scatters of two parts are joined without cancellation (Chan, Golub and LeVeque 1983).
        count, mean = len(y), y.mean()
        total, shift = self.count + count, mean - self.mean
        self.scatter = self.scatter + (y - mean).square().sum() + shift.square() * self.count * count / total
        self.mean, self.count = self.mean + shift * count / total, total

    def compute(self) -> float:
        return float(1 - self.errors / self.scatter) if float(self.scatter) > 0 else float("nan")
