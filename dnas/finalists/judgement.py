"""How good a finalist is after a rung, on data that it was not trained on; selected by, the figure is optimistic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from dnas.core.batch import to_device
from dnas.data.batches import Batches
from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.task.measurement import Tally
from dnas.training.evaluate import call, device_of, evaluation_mode, in_format, memory_format_of

_TYPES: Mapping[str, Any] = {
    "metric": str,
    "better": str,
    "value": float,
    "loss": float,
    "interval": list | None,
    "right": str | None,
    "compute": float,
    "seconds": float,
}


@dataclass(frozen=True)
class Judgement:
    """The figures of one finalist after one rung.

    Args:
        metric: name of the metric that decides.
        better: which values of it are better.
        value: its value.
        loss: mean of the criterion; it decides between equal values.
        interval: 95 % interval of the value for samples of the same kind; None where `right` tells more, or unknown.
        right: for top-1 accuracy, '1' for each sample that is recognised and '0' for the others; None for others.
        compute: seconds of compute for training and judging (`dnas.system.compute`).
        seconds: the same by the clock.
    """

    metric: str
    better: Literal["higher", "lower"]
    value: float
    loss: float
    interval: tuple[float, float] | None
    right: str | None
    compute: float = 0.0
    seconds: float = 0.0

    @property
    def order(self) -> tuple[float, float]:
        """What finalists are sorted by: smaller is better."""
        return (-self.value if self.better == "higher" else self.value, self.loss)

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {**asdict(self), "interval": None if self.interval is None else list(self.interval)}

    @staticmethod
    def from_data(data: Any, *, source: str) -> Judgement:
        """Read and check what `to_data` gives.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        if not isinstance(data, Mapping) or set(data) != set(_TYPES):
            raise UserError(f"{source} must hold the entries {list(_TYPES)}; got {data!r}.")
        for name, kind in _TYPES.items():
            if not isinstance(data[name], kind) or (isinstance(data[name], float) and not math.isfinite(data[name])):
                raise UserError(f"{source}: {name} must be of type {kind}; got {data[name]!r}.")
        if data["better"] not in ("higher", "lower"):
            raise UserError(f"{source}: better must be 'higher' or 'lower'; got {data['better']!r}.")
        interval = data["interval"]
        return Judgement(**{**data, "interval": None if interval is None else (interval[0], interval[1])})


def judge(network: nn.Module, batches: Batches, task: Task) -> Judgement:
    """Judge a network by the task's first metric on one pass over `batches`.

    Raises:
        UserError: outputs or targets do not fit the task.
        NonFiniteLoss: the network gives out NaN or infinity.
    """
    device, memory_format = device_of(network), memory_format_of(network)
    by_samples = isinstance(task, Classification) and not task.balanced
    tally, right = Tally(task, intervals=not by_samples), []
    with evaluation_mode(network), torch.no_grad():
        for batch in batches.epoch(0):
            targets = to_device(batch.targets, device)
            outputs = call(network, in_format(to_device(batch.inputs, device), memory_format))
            tally.add(outputs, targets)
            if by_samples:
                right += (outputs.argmax(1) == targets).tolist()
    measured = tally.measurement()
    score = measured.score
    return Judgement(
        metric=measured.deciding,
        better=score.better,
        value=score.value,
        loss=measured.loss,
        interval=score.interval,
        right="".join("1" if one else "0" for one in right) if by_samples else None,
    )
