"""One class for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.described import described
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.task.base import Task, divergence, logits_of
from dnas.task.classification import check_labels
from dnas.task.metric import Metric


@dataclass(frozen=True)
class Segmentation(Task):
    """Logits `(batch, classes, height, width)` and int64 labels `(batch, height, width)`; the loss is cross entropy.

    Samples count by their pixels that are not ignored. Metrics are `miou`, the mean over the classes that occur of
    intersection over union, and `pixel_accuracy`. Volumes and signals, with other numbers of dimensions, are taken too.

    Args:
        ignored: label of pixels that do not count, such as borders; it is never a class.
    """

    ignored: int = 255

    def __post_init__(self) -> None:
        accept(self)

    def read(self, outputs: Any) -> Any:
        return logits_of(outputs)

    def criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        # The mean over valid pixels; 0, with a gradient of 0, where there are none: torch would give NaN.
        total = nn.functional.cross_entropy(outputs, targets, ignore_index=self.ignored, reduction="sum")
        return total / (targets != self.ignored).sum().clamp(min=1)

    def distance_to_teacher(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        return divergence(outputs, taught, temperature, axis=1)

    def metrics(self) -> dict[str, Metric]:
        return {"miou": Metric(MeanIoU(self.ignored), "higher"), "pixel_accuracy": Metric(self._accuracy, "higher")}

    def weights(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (targets != self.ignored).flatten(1).sum(1).double()

    def check(self, outputs: Any, targets: Any) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim < 3:
            raise UserError(
                "A segmentation must give logits (batch, classes, height, width); the network gives "
                f"{described(outputs)}."
            )
        expected = (outputs.shape[0], *outputs.shape[2:])
        if not isinstance(targets, Tensor) or targets.shape != expected or targets.dtype != torch.int64:
            raise UserError(f"Targets must be the int64 labels of all pixels, {expected}; got {described(targets)}.")
        check_labels(targets[targets != self.ignored], outputs.shape[1])

    def _accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Share of right pixels among those that count of each sample, `(batch,)`; 0 where none counts."""
        right = (outputs.argmax(1) == targets) & (targets != self.ignored)
        return right.flatten(1).sum(1) / self.weights(outputs, targets).clamp(min=1)


class MeanIoU:
    """Mean over classes of |prediction and truth| / |prediction or truth|, over pixels that are not ignored.

    A class that neither is predicted nor occurs is left out; NaN where that are all.
    """

    def __init__(self, ignored: int) -> None:
        self.ignored = ignored
        self.reset()

    def reset(self) -> None:
        self.confusion: Tensor | None = None

    def update(self, outputs: Tensor, targets: Tensor, /) -> None:
        num_classes, counts = outputs.shape[1], targets != self.ignored
        pairs = targets[counts] * num_classes + outputs.argmax(1)[counts]
        confusion = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
        self.confusion = confusion if self.confusion is None else self.confusion + confusion

    def compute(self) -> float:
        assert self.confusion is not None
        both = self.confusion.diagonal().double()
        either = self.confusion.sum(0) + self.confusion.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean())
