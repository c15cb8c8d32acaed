"""Whether a method did better than another, or only had other seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dnas.system.errors import MissingPackage

# With fewer runs of either method there is no verdict; even five are few.
FEWEST = 5
TOO_FEW = "too few seeds"
_HINT = 'A significance test needs scipy: pip install ".[cli]" in a clone of dnas'


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, rounded once at the end."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1 in the denominator); None for a single value."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p-value for equal means; the variances may differ.

    t = (m1 - m2) / sqrt(s1^2 / n1 + s2^2 / n2)  (Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28), by
    `scipy.stats.ttest_ind`.

    Args:
        first, second: at least two values each.

    Returns:
        p from 0 to 1; None if all values of each are equal, for which the test is not defined.
    """
    try:
        from scipy.stats import ttest_ind
    except ImportError as error:
        raise MissingPackage(_HINT) from error
    if not deviation(first) and not deviation(second):
        return None
    _, p = ttest_ind(first, second, equal_var=False)
    return float(p)  # pyright: ignore[reportArgumentType]


def one_sample_p(values: Sequence[float], known: float) -> float | None:
    """Two-sided p-value for a mean that is known exactly, such as that of a whole table.

    t = (m - known) / sqrt(s^2 / n)  with n - 1 degrees of freedom (Student 1908, https://doi.org/10.1093/biomet/6.1.1),
    by `scipy.stats.ttest_1samp`.

    Args:
        values: at least two values.
        known: the mean that the values are tested against.

    Returns:
        p from 0 to 1; None if all values are equal, for which the test is not defined.
    """
    try:
        from scipy.stats import ttest_1samp
    except ImportError as error:
        raise MissingPackage(_HINT) from error
    if not deviation(values):
        return None
    _, p = ttest_1samp(values, known)
    return float(p)  # pyright: ignore[reportArgumentType]


def verdict(values: Sequence[float], baseline: Sequence[float]) -> str:
    """Welch's t-test against a baseline in words, such as 'p = 0.0123 (better)'; below five values 'too few seeds'."""
    if min(len(values), len(baseline)) < FEWEST:
        return TOO_FEW
    return _in_words(welch_p(values, baseline), better=mean(values) > mean(baseline))


def verdict_on_mean(values: Sequence[float], known: float) -> str:
    """Student's t-test against a mean that is known exactly, in words as in `verdict`."""
    if len(values) < FEWEST:
        return TOO_FEW
    return _in_words(one_sample_p(values, known), better=mean(values) > known)


def _in_words(p: float | None, *, better: bool) -> str:
    if p is None:
        return "no spread"
    return f"{'p < 0.0001' if p < 1e-4 else f'p = {p:.4f}'} ({'better' if better else 'worse'})"
