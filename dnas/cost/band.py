"""How much of a budget an architecture has to use, to be called one that uses it."""

from __future__ import annotations

from collections.abc import Mapping

from dnas.core.architecture import Kept
from dnas.cost.bounds import Bounds

# The share of a limit.
BAND = 0.85


def largest_use(bounds: Bounds) -> dict[str, Kept]:
    """An architecture within the bounds that uses most of one of them, to within a hundredth."""
    found = [bounds.program.costliest(one.cost, bounds.all, gap=0.01) for one in bounds.ranges]
    return max((kept for kept in found if kept is not None), key=bounds.use)


def band(bounds: Bounds, largest: Mapping[str, Kept]) -> tuple[float, float]:
    """The least and the largest use: 85 to 100 % of one of the limits, or of what can be used of them if that is less.

    Args:
        bounds: the limits.
        largest: an architecture that uses most of them.
    """
    top = bounds.use(largest)
    return (BAND, 1.0) if top >= BAND else (BAND * top, top)
