"""What came of shrinking a model, beside other networks of the same cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from dnas.shrinking.groups import Frozen, Selection
from dnas.system.words import aligned, readable_time
from dnas.task.measurement import Measured


@dataclass(frozen=True)
class Row:
    """One network.

    Args:
        name: what it is.
        score: by the task's deciding metric.
        loss: the mean of the task's criterion.
        parameters: their number.
        flops: of one forward pass over the example.
        milliseconds: one forward pass over the example, the median of several, here.
        onnx_bytes: size of its ONNX file; None where it was not made.
        seconds: of compute that it took to find and to train.
        values: what each decision is: classes that stay; for blocks 0 or 1.
    """

    name: str
    score: Measured
    loss: float
    parameters: int
    flops: int
    milliseconds: float
    onnx_bytes: int | None
    seconds: float
    values: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """All rows, and what stayed as it was.

    Args:
        metric: name of the deciding metric.
        measured_on: on which data the rows are measured, and how many samples these are.
        budget: as it was given.
        rows: original, found, uniform where there is one, random ones.
        frozen: what could not vary, with the reason.
        selection: what stayed in the network that was found.
        example: shapes and types of the inputs that it was found with, as plain data.
    """

    metric: str
    measured_on: str
    budget: tuple[str, ...]
    rows: tuple[Row, ...]
    frozen: tuple[Frozen, ...]
    selection: Selection
    example: Any = None

    def row(self, name: str) -> Row:
        """The row of a name such as 'found'."""
        return next(row for row in self.rows if row.name == name)

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        header = ["", self.metric, "95 %", "loss", "parameters", "FLOPs", "ms", "ONNX kB", "compute"]
        lines = [header, *(_cells(row) for row in self.rows)]
        random = [row.score.value for row in self.rows if row.name.startswith("random")]
        note = f"Budget {', '.join(self.budget)}; measured on {self.measured_on}."
        if len(random) > 1:
            low, high = mean_interval(random)
            note += f" Mean of {len(random)} random networks: {fmean(random):.4f}, 95 % {low:.4f} to {high:.4f}."
        return "\n".join([*aligned(lines, "<" + ">" * (len(header) - 1)), note])


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean by Student's t (1908, https://doi.org/10.1093/biomet/6.1.1).

    m +- t(0.975, n - 1) s / sqrt(n)

    Args:
        values: two or more.
    """
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def _cells(row: Row) -> list[str]:
    interval = "" if row.score.interval is None else f"{row.score.interval[0]:.4f}-{row.score.interval[1]:.4f}"
    return [
        row.name,
        f"{row.score.value:.4f}",
        interval,
        f"{row.loss:.4f}",
        f"{row.parameters:,}",
        f"{row.flops:,}",
        f"{row.milliseconds:.2f}",
        "" if row.onnx_bytes is None else f"{row.onnx_bytes / 1000:.1f}",
        readable_time(row.seconds),
    ]
