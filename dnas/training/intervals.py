"""The exact interval of a probability, and the expected best of several draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dnas.system.errors import UserError


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability (Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404).

    Its ends are the p for which P(X >= successes) and P(X <= successes), X binomial, are (1 - confidence) / 2.

    Raises:
        UserError: not 0 <= successes <= trials, no trials, or a confidence that is not between 0 and 1.
    """
    if not (0 <= successes <= trials and trials >= 1 and 0 < confidence < 1):
        raise UserError(
            f"Expected 0 <= successes <= trials, trials >= 1 and a confidence between 0 and 1; got {successes}, "
            f"{trials} and {confidence}."
        )
    outside = (1 - confidence) / 2
    low = _root(lambda p: _tail(successes, trials, p) - outside) if successes > 0 else 0.0
    high = _root(lambda p: _tail(successes + 1, trials, p) - (1 - outside)) if successes < trials else 1.0
    return low, high


def _tail(successes: int, trials: int, p: float) -> float:
    """P(X >= successes) for X binomial; in logarithms, since the factors overflow from a thousand trials on."""
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p) + (trials - k) * math.log1p(-p)
        )
        for k in range(successes, trials + 1)
    )


def _root(rising: Callable[[float], float]) -> float:
    """The zero of a rising function on (0, 1), by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def expected_best(validation: Sequence[float], test: Sequence[float], count: int) -> float:
    """Expected test value of the best by validation among `count` networks drawn without replacement.

    Of n networks in order of validation value, the best of k is one of the ranks a + 1 to b with probability
    (C(b, k) - C(a, k)) / C(n, k). Networks of equal validation value are equally likely to be kept.

    Args:
        validation: values that decide; higher is better.
        test: values of the same networks.
        count: k, from 1 to the number of networks.

    Raises:
        UserError: the lengths differ, or `count` is out of range.
    """
    if len(validation) != len(test) or not 1 <= count <= len(test):
        raise UserError(
            f"Expected as many validation as test accuracies and a count from 1 to their number; got "
            f"{len(validation)}, {len(test)} and {count}."
        )
    groups: dict[float, list[float]] = {}
    for value, accuracy in sorted(zip(validation, test, strict=True)):
        groups.setdefault(value, []).append(accuracy)
    below, terms = 0, []
    for accuracies in groups.values():
        upto = below + len(accuracies)
        ways = math.comb(upto, count) - math.comb(below, count)
        terms.append(ways / math.comb(len(test), count) * math.fsum(accuracies) / len(accuracies))
        below = upto
    return math.fsum(terms)
