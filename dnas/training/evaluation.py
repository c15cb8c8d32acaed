"""The results of a trained network on samples that it has not seen: loss, metrics, and a classifier's confusion."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dnas.system.atomic import write_text
from dnas.system.errors import UserError
from dnas.system.words import csv_cell
from dnas.task.measurement import Measured, Measurement


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of a network on samples that it has not seen.

    Args:
        measurement: the loss and every metric of the task.
        confusion: for a classifier, `(classes, classes)` int64 on the CPU; row: true class, column: predicted class,
            entry: number of samples. None for other tasks.
    """

    measurement: Measurement
    confusion: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return self.measurement.num_samples

    @property
    def loss(self) -> float:
        """Mean of the criterion over the samples."""
        return self.measurement.loss

    @property
    def score(self) -> Measured:
        """The value by which networks of this task are compared."""
        return self.measurement.score

    def value(self, name: str) -> float:
        """A metric's value.

        Raises:
            UserError: the task has no such metric.
        """
        if name not in self.measurement.values:
            known = ", ".join(self.measurement.values) or "none"
            raise UserError(f"The task has no metric {name!r}; it has {known}.")
        return self.measurement.values[name].value

    @property
    def num_images(self) -> int:
        """Number of samples of an image classifier."""
        return self.num_samples

    @property
    def top1(self) -> float:
        """For a classifier, the share of samples whose class has the highest score, 0 to 1."""
        return self.value("top1")

    @property
    def top5(self) -> float:
        """For a classifier, the share of samples whose class is among the 5 highest scores, 0 to 1."""
        return self.value("top5")

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95 % interval of `top1` for samples of the same kind."""
        self.value("top1")
        interval = self.measurement.values["top1"].interval
        assert interval is not None  # shares of samples always have one
        return interval

    @property
    def per_class(self) -> tuple[float | None, ...]:
        """Share of each class's samples that is recognised; None for a class without samples."""
        rows = _of_classifier(self.confusion).tolist()
        return tuple(row[index] / sum(row) if sum(row) else None for index, row in enumerate(rows))

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file; the confusion matrix has a file of its own (`write_confusion`)."""
        data: dict[str, Any] = {"num_samples": self.num_samples, "loss": self.loss}
        data["metrics"] = {
            name: {
                "value": measured.value,
                "interval_95": None if measured.interval is None else list(measured.interval),
                "better": measured.better,
            }
            for name, measured in self.measurement.values.items()
        }
        if self.confusion is not None:  # names that classifiers' files have always had
            data |= {
                "num_images": self.num_samples,
                "top1": self.top1,
                "top1_interval_95": list(self.top1_interval),
                "top5": self.top5,
                "per_class": list(self.per_class),
            }
        return data

    def write_confusion(self, path: Path, class_names: Sequence[str]) -> None:
        """Write the confusion matrix as CSV: a header of predicted classes, then one row for each true class.

        Raises:
            UserError: there is not one name for each class, or the task is not a classification.
        """
        confusion = _of_classifier(self.confusion)
        if len(class_names) != len(confusion):
            raise UserError(
                f"The network tells {len(confusion)} classes apart, but there are {len(class_names)} class names; "
                "expected one for each, in the order of the labels."
            )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [csv_cell(name) for name in class_names]
        writer.writerow(["true \\ predicted", *names])
        for name, row in zip(names, confusion.tolist(), strict=True):
            writer.writerow([name, *row])
        write_text(path, text.getvalue())


def _of_classifier(confusion: Tensor | None) -> Tensor:
    if confusion is None:
        raise UserError("Only a classification has a confusion of classes; this evaluation is of another task.")
    return confusion
