"""How good a trained classifier is: loss, accuracy, confusion matrix."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.batch import to_device
from dnas.data.batches import Batches
from dnas.data.iterable_batches import IterableBatches
from dnas.system.atomic import write_text
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.task.interval import wilson_interval


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier does on images that it has not seen.

    Args:
        num_images: how many.
        loss: mean cross entropy in nats.
        top1: share of images whose class has the highest score, 0 to 1.
        top5: share whose class is among the 5 highest scores (all of them where there are fewer classes).
        confusion: `(classes, classes)` int64 on the CPU; row: true class, column: predicted class, entry: images.
    """

    num_images: int
    loss: float
    top1: float
    top5: float
    confusion: Tensor

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95% interval of top1 for images of the same kind."""
        return wilson_interval(self.top1, self.num_images)

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Top-1 accuracy of each class; None where the class has no image."""
        rows = self.confusion.tolist()
        return tuple(row[index] / sum(row) if sum(row) else None for index, row in enumerate(rows))

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file; the confusion matrix has a file of its own (`write_confusion`)."""
        return {
            "num_images": self.num_images,
            "loss": self.loss,
            "top1": self.top1,
            "top1_interval_95": list(self.top1_interval),
            "top5": self.top5,
            "per_class": list(self.per_class),
        }

    def write_confusion(self, path: Path, class_names: Sequence[str]) -> None:
        """Write the confusion matrix as CSV: a header of predicted classes, then one row for each true class.

        Raises:
            UserError: not one name for each class.
        """
        if len(class_names) != len(self.confusion):
            raise UserError(
                f"The network tells {len(self.confusion)} classes apart, but there are {len(class_names)} class names; "
                "expected one for each, in the order of the labels."
            )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true \\ predicted", *class_names])
        for name, row in zip(class_names, self.confusion.tolist(), strict=True):
            writer.writerow([name, *row])
        write_text(path, text.getvalue())


def evaluate(
    network: nn.Module,
    batches: Batches | Iterable[Any],
    *,
    display: Display = Silent(),
    phase: str = "evaluate",
) -> Evaluation:
    """Measure a classifier on one pass over `batches`, in evaluation mode; the mode is afterwards as before.

    Args:
        network: maps inputs to logits `(batch, classes)`.
        batches: `(inputs, targets)`, targets `(batch,)` int64.
        display: where progress is shown, under the name `phase`.

    Raises:
        UserError: the outputs are no logits, or a target is no class of the network.
        NonFiniteLoss: the network gives out NaN or infinity.

    Example:
        >>> network = nn.Linear(4, 3)
        >>> evaluation = evaluate(network, [(torch.randn(8, 4), torch.randint(0, 3, (8,)))])
        >>> evaluation.num_images, evaluation.confusion.shape
        (8, torch.Size([3, 3]))
    """
    batches = as_batches(batches)
    device, memory_format = device_of(network), memory_format_of(network)
    tally: _Tally | None = None
    with evaluation_mode(network), torch.no_grad():
        for done, batch in enumerate(batches.epoch(0), start=1):
            logits = call(network, in_format(to_device(batch.inputs, device), memory_format))
            targets = to_device(batch.targets, device)
            check_logits(logits, targets)
            if tally is None:
                tally = _Tally(logits.shape[1], device)
            tally.add(logits, targets)
            display.update(phase, done, len(batches), {})
    if tally is None:
        raise UserError("There is nothing to evaluate on: the data hold no batch.")
    return tally.evaluation()


class _Tally:
    """Sums over batches, kept on the device until the end."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.num_images = 0
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.top5 = torch.zeros((), dtype=torch.int64, device=device)
        self.misfits = torch.zeros((), dtype=torch.int64, device=device)  # targets that are no class
        self.non_finite = torch.zeros((), dtype=torch.int64, device=device)
        self.confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, targets: Tensor) -> None:
        # A target that is no class is counted and reported at the end; until then class 0 stands in for it, since
        # looking at it now would wait for the device.
        known = (targets >= 0) & (targets < self.num_classes)
        targets = torch.where(known, targets, 0)
        self.num_images += len(targets)
        self.misfits += (~known).sum()
        self.non_finite += (~logits.isfinite().all(1)).sum()
        self.loss += nn.functional.cross_entropy(logits.double(), targets, reduction="sum")
        best = logits.topk(min(5, self.num_classes), dim=1).indices
        self.top5 += (best == targets[:, None]).sum()
        self.confusion.index_add_(0, targets * self.num_classes + best[:, 0], torch.ones_like(targets))

    def evaluation(self) -> Evaluation:
        if self.misfits:
            raise UserError(
                f"{int(self.misfits)} of {self.num_images} targets are no class of the network, whose "
                f"{self.num_classes} outputs stand for classes 0 to {self.num_classes - 1}: "
                "data and network belong to different sets of classes."
            )
        if self.non_finite:
            raise NonFiniteLoss(
                f"The network's outputs are NaN or infinite for {int(self.non_finite)} of {self.num_images} images: "
                "its training has diverged (lower the learning rate), or the inputs are not finite."
            )
        confusion = self.confusion.reshape(self.num_classes, self.num_classes).cpu()
        return Evaluation(
            num_images=self.num_images,
            loss=float(self.loss) / self.num_images,
            top1=int(confusion.trace()) / self.num_images,
            top5=int(self.top5) / self.num_images,
            confusion=confusion,
        )


# What evaluation and training share


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Within the block the network is in evaluation mode; afterwards every module is in the mode it was in."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def call(network: nn.Module, inputs: Any) -> Any:
    """The network's outputs for inputs as in `dnas.batch.Batch`: a tensor, a tuple or list, or a dict."""
    if isinstance(inputs, dict):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple | list) else network(inputs)


def in_format(inputs: Any, memory_format: torch.memory_format) -> Any:
    """`inputs` with every image tensor in it, of 4 dimensions, in a memory format."""
    if isinstance(inputs, Tensor):
        return inputs.contiguous(memory_format=memory_format) if inputs.ndim == 4 else inputs
    if isinstance(inputs, tuple | list):
        return type(inputs)(in_format(part, memory_format) for part in inputs)
    return {name: in_format(part, memory_format) for name, part in inputs.items()}


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """The memory format of the network's convolutions, which its inputs should have too."""
    for weight in network.parameters():
        if weight.ndim == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            return torch.channels_last
    return torch.contiguous_format


def check_logits(logits: Any, targets: Any) -> None:
    """See that these are scores of classes and their labels.

    Raises:
        UserError: says what came instead.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise UserError(f"A classifier must give logits (batch, classes); this network gives {_described(logits)}.")
    if not isinstance(targets, Tensor) or targets.shape != logits.shape[:1] or targets.dtype != torch.int64:
        raise UserError(
            f"Targets must be the int64 labels of the batch, ({logits.shape[0]},); got {_described(targets)}."
        )


def as_batches(data: Batches | Iterable[Any]) -> Batches:
    """Batches themselves, or those of a user's loader."""
    return data if isinstance(data, Batches) else IterableBatches(data)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's first parameter is; the CPU where it has none."""
    return next(network.parameters(), torch.empty(0)).device


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(map(_described, value))}"
    return f"a {type(value).__name__}"
