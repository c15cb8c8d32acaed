"""One class for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.task.base import Task, divergence, logits_of
from dnas.task.metric import Metric


@dataclass(frozen=True)
class Classification(Task):
    """Logits `(batch, classes)` and int64 labels `(batch,)`; the loss is cross entropy in nats.

    Metrics are `top1`, `top5` (all classes where there are fewer) and `balanced_accuracy`, the mean over classes of the
    share of their samples that are recognised.

    Args:
        label_smoothing: share of a label, in [0, 1), that the loss spreads over all classes.
        balanced: let balanced accuracy decide which network is best, where classes differ much in size.

    Raises:
        UserError: a value out of its range.
    """

    label_smoothing: float = 0.0
    balanced: bool = False

    def __post_init__(self) -> None:
        accept(self)
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be from 0 up to below 1; got {self.label_smoothing}.")

    def read(self, outputs: Any) -> Any:
        return logits_of(outputs)

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def distance_to_teacher(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        return divergence(outputs, taught, temperature, axis=1)

    def metrics(self) -> dict[str, Metric]:
        balanced = {"balanced_accuracy": Metric(BalancedAccuracy(), "higher")}
        shares = {"top1": Metric(top1, "higher"), "top5": Metric(top5, "higher")}
        return {**balanced, **shares} if self.balanced else {**shares, **balanced}

    def check(self, outputs: Any, targets: Any) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise UserError(f"A classifier must give logits (batch, classes); this network gives {described(outputs)}.")
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape[:1] or targets.dtype != torch.int64:
            raise UserError(
                f"Targets must be the int64 labels of the batch, ({outputs.shape[0]},); got {described(targets)}."
            )
        check_labels(targets, outputs.shape[1])


def check_labels(targets: Tensor, num_classes: int) -> None:
    """Check that every label is a class of the network.

    Raises:
        UserError: names the first that is none.
    """
    misfits = targets[(targets < 0) | (targets >= num_classes)]
    if len(misfits):
        raise UserError(
            f"{len(misfits)} of {targets.numel()} targets are no class of the network, the first is {int(misfits[0])}: "
            f"its {num_classes} outputs stand for classes 0 to {num_classes - 1}. Data and network belong to different "
            "sets of classes."
        )


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for each sample whose class has the highest score, `(batch,)`."""
    return (outputs.argmax(1) == targets).double()


def top5(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for each sample whose class is among the 5 highest scores, `(batch,)`."""
    best = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
    return (best == targets[:, None]).any(1).double()


class Confusion:
    """How often each true class was taken for each class: `(classes, classes)` int64, true classes in rows."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.counts: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        num_classes = outputs.shape[1]
        pairs = targets * num_classes + outputs.argmax(1)
        counts = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        self.counts = counts if self.counts is None else self.counts + counts

    def compute(self) -> Tensor:
        assert self.counts is not None
        return self.counts.cpu()


class BalancedAccuracy:
    """Mean over the classes that occur of the share of their samples whose score is highest for them."""

    def __init__(self) -> None:
        self.confusion = Confusion()

    def reset(self) -> None:
        self.confusion.reset()

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        self.confusion.update(outputs, targets)

    def compute(self) -> float:
        confusion = self.confusion.compute().double()
        every = confusion.sum(1)
        return float((confusion.diagonal()[every > 0] / every[every > 0]).mean())
