"""Whether a method did better than another, or only had other seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

# With fewer runs of either method nothing is said: five is few already.
FEWEST = 5
TOO_FEW = "too few seeds"


def mean(values: Sequence[float]) -> float:
    """Sum over number, without rounding on the way."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1 in the denominator); None of a single value."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def welch_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p of equal means, without the assumption of equal variances.

    t = (m1 - m2) / sqrt(s1^2 / n1 + s2^2 / n2)  (Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28), by
    `scipy.stats.ttest_ind`.

    Args:
        first, second: at least two values each.

    Returns:
        p from 0 to 1; None where neither has any spread, for which the test is not defined.
    """
    try:
        from scipy.stats import ttest_ind
    except ImportError as error:
        raise ImportError('A significance test needs scipy: pip install "dnas[cli]"') from error
    if not deviation(first) and not deviation(second):
        return None
    _, p = ttest_ind(first, second, equal_var=False)
    return float(p)  # pyright: ignore[reportArgumentType]


def verdict(values: Sequence[float], baseline: Sequence[float]) -> str:
    """p of Welch's t-test against a baseline in words; 'too few seeds' with fewer than five of either."""
    if min(len(values), len(baseline)) < FEWEST:
        return TOO_FEW
    p = welch_p(values, baseline)
    if p is None:
        return "no spread"
    return (
        f"p < 0.0001 ({_direction(values, baseline)})" if p < 1e-4 else f"p = {p:.4f} ({_direction(values, baseline)})"
    )


def _direction(values: Sequence[float], baseline: Sequence[float]) -> str:
    return "better" if mean(values) > mean(baseline) else "worse"
