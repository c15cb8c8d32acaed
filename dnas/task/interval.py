"""How far a measured value may be from what more samples would show."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# The normal distribution's 97.5% point.
_Z95 = 1.959963984540054


def wilson_interval(share: float, count: int, z: float = _Z95) -> tuple[float, float]:
    """Interval of a probability of which `share` was seen in `count` trials (Wilson 1927, doi 10.2307/2276774).

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        share: p, 0 to 1.
        count: n, at least 1.
        z: how many standard deviations; 1.96 for 95%.
    """
    center = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max(0.0, (center - half) / scale), min(1.0, (center + half) / scale)


def bootstrap_interval(
    statistic: Callable[[Tensor], float], count: int, *, resamples: int = 200, seed: int = 0
) -> tuple[float, float] | None:
    """95% percentile interval of a statistic over samples that are drawn with replacement.

    The bootstrap of Efron (1979, https://doi.org/10.1214/aos/1176344552).

    Args:
        statistic: returns the value for the samples with these indices, `(count,)` int64 on the CPU.
        count: number of samples.
        resamples: number of draws.
        seed: seed of the draws.

    Returns:
        Low and high end; None where the statistic is not finite for some draw, or there is only one sample.
    """
    if count < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn = [statistic(torch.randint(count, (count,), generator=generator)) for _ in range(resamples)]
    if not all(math.isfinite(value) for value in drawn):
        return None
    low, high = torch.quantile(torch.tensor(drawn, dtype=torch.float64), torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high
