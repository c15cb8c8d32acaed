"""Whether two finalists can be told apart by the samples that they were judged on."""

from __future__ import annotations

import math

from dnas.finalists.judgement import Judgement

# Finalists can be told apart if a difference such as theirs is less likely than this by chance.
LEVEL = 0.05


def can_tell_apart(best: Judgement, other: Judgement) -> bool:
    """Whether the best one is better by more than other samples of the same kind would bring.

    For top-1 accuracy this is McNemar's exact test on the samples that one of the two recognises alone; for other
    metrics, whether the other's value lies outside the 95 % interval of the best. It says nothing of what another
    training of the same two networks would bring.
    """
    if best.right is not None and other.right is not None:
        return mcnemar_p(best.right, other.right) < LEVEL
    if best.interval is not None:
        low, high = best.interval
        return not low <= other.value <= high
    return best.value != other.value


def mcnemar_p(first: str, second: str) -> float:
    """Two-sided p-value for equal accuracies of two classifiers on the same samples.

    Of the n samples that one of them recognises alone, each does so with probability 1/2 (McNemar 1947,
    https://doi.org/10.1007/BF02295996, in its exact form): p = 2 P(X <= min(b, c)), X ~ B(n, 1/2), at most 1.

    Args:
        first, second: '1' for each sample that is recognised, '0' for each other one, in the same order.
    """
    only_first = sum(a > b for a, b in zip(first, second, strict=True))
    only_second = sum(a < b for a, b in zip(first, second, strict=True))
    n = only_first + only_second
    log_ways = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        for k in range(min(only_first, only_second) + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(ways - n * math.log(2)) for ways in log_ways))
