"""A criterion and metrics of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.metric import Metric, as_metric

Criterion = Callable[[Any, Any], Tensor | Mapping[str, Tensor]]


@dataclass(frozen=True)
class OwnTask(Task):
    """A criterion and metrics that are given, for outputs and targets of any kind.

    Args:
        loss: `loss(outputs, targets)` gives a scalar, the mean over the batch, or a dict of named ones.
        measures: metrics by name; the first one decides which network is best, without any the loss does. Objects of
            torchmetrics that say by `higher_is_better` which values are better are taken as they are.
        counts: how much each sample counts in means, `counts(outputs, targets)` of shape `(batch,)`; 1 each if None.

    Raises:
        UserError: something that is no criterion or no metric.

    Example:
        >>> from torch import nn
        >>> off = Metric(lambda outputs, targets: (outputs - targets).abs().mean(1), better="lower")
        >>> list(OwnTask(nn.functional.huber_loss, {"off": off}).metrics())
        ['off']
    """

    loss: Criterion
    measures: Mapping[str, Any] = field(default_factory=dict)
    counts: Callable[[Any, Any], Tensor] | None = None

    def __post_init__(self) -> None:
        if not callable(self.loss):
            raise UserError(
                "loss must be a function of (outputs, targets), such as torch.nn.functional.mse_loss; got "
                f"{self.loss!r}."
            )
        if not isinstance(self.measures, Mapping):
            raise UserError(
                f"measures must be a mapping of names to metrics, such as {{'mae': dnas.Metric(mae, 'lower')}}; got a "
                f"{type(self.measures).__name__}."
            )
        self.metrics()

    def criterion(self, outputs: Any, targets: Any) -> Tensor | Mapping[str, Tensor]:
        return self.loss(outputs, targets)

    def metrics(self) -> dict[str, Metric]:
        return {name: as_metric(name, given) for name, given in self.measures.items()}

    def name(self) -> str:
        named = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return f"OwnTask({named}, {sorted(self.measures)})"

    def weights(self, outputs: Any, targets: Any) -> Tensor:
        return Task.weights(self, outputs, targets) if self.counts is None else self.counts(outputs, targets)
