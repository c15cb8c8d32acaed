"""How sure a mean is: Student's interval, and the deviation of trainings that only luck tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnas.training.significance import deviation, mean


class Interval(NamedTuple):
    """A mean, its 95 % interval, and Student's two-sided p-value for a mean of 0."""

    mean: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:.2f} to {self.high:.2f}), p = {self.p:.4f}"


def interval_of_mean(values: Sequence[float]) -> Interval:
    """m +- t(0.975, n - 1) s / sqrt(n), of two values or more that are not all equal."""
    from scipy.stats import t

    middle, spread = mean(values), deviation(values)
    assert spread, "an interval needs values that differ"
    error = spread / len(values) ** 0.5
    half = float(t.ppf(0.975, len(values) - 1)) * error
    return Interval(middle, middle - half, middle + half, 2 * float(t.sf(abs(middle) / error, len(values) - 1)))


def deviation_of_trainings(values: np.ndarray, functions: np.ndarray, least: float) -> float:
    """The deviation of trainings of one function, pooled over functions with two trainings or more.

    s^2 = sum (v - mean of its function)^2 / sum (n - 1), over functions whose mean is above `least`.

    Args:
        values: one for each training.
        functions: number of its function, from 0 on.
        least: functions of lower means are left out.
    """
    counts = np.bincount(functions)
    means = np.bincount(functions, values.astype(float)) / np.maximum(counts, 1)
    squares = np.bincount(functions, (values - means[functions]) ** 2)
    used = (counts > 1) & (means > least)
    return float(np.sqrt(squares[used].sum() / (counts[used] - 1).sum()))
