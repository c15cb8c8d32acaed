"""Any number of labels for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.errors import UserError
from dnas.task.base import Task, divergence, logits_of
from dnas.task.metric import Metric


@dataclass(frozen=True)
class MultiLabel(Task):
    """Logits `(batch, labels)` and targets of 0 and 1 of the same shape; the loss is binary cross entropy in nats.

    Metrics are `f1` (micro-averaged over all labels; a label is given where its logit is above 0), `label_accuracy`,
    the share of right labels, and `exact_match`, the share of samples all of whose labels are right.
    """

    def read(self, outputs: Any) -> Any:
        return logits_of(outputs)

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def distance_to_teacher(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        # Each label is a choice of two classes with the logits 0 and its own.
        ours, theirs = (torch.stack([torch.zeros_like(logits), logits], dim=-1) for logits in (outputs, taught))
        return divergence(ours, theirs, temperature, axis=-1)

    def metrics(self) -> dict[str, Metric]:
        return {
            "f1": Metric(MicroF1(), "higher"),
            "label_accuracy": Metric(label_accuracy, "higher"),
            "exact_match": Metric(exact_match, "higher"),
        }

    def check(self, outputs: Any, targets: Any) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise UserError(f"A network of many labels must give logits (batch, labels); got {described(outputs)}.")
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape:
            raise UserError(f"Targets must be 0 or 1 for each label, {tuple(outputs.shape)}; got {described(targets)}.")
        if bool(((targets != 0) & (targets != 1)).any()):
            raise UserError("Targets of many labels must be 0 or 1; others came.")


def label_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of right labels of each sample, `(batch,)`."""
    return ((outputs > 0) == (targets > 0)).double().mean(1)


def exact_match(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for each sample all of whose labels are right, `(batch,)`."""
    return ((outputs > 0) == (targets > 0)).all(1).double()


class MicroF1:
    """2 TP / (2 TP + FP + FN) over all labels of all samples; 1 where no label is given and none is true."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64)  # true positives; false positives and false negatives

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        given, true = outputs > 0, targets > 0
        counts = torch.stack([(given & true).sum(), (given != true).sum()])
        self.counts = self.counts.to(counts.device) + counts

    def compute(self) -> float:
        right, wrong = self.counts.tolist()
        return 1.0 if right + wrong == 0 else 2 * right / (2 * right + wrong)
