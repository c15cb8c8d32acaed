"""Random architectures that use a budget: a fair comparison for one that was searched within it.

Most uniform draws that fit a budget are much smaller than it allows. Therefore architectures are drawn from

    P(a) ~ exp(-strength cost(a) / most)    over all architectures a within the budget that use 85 % or more of it

where `cost` belongs to the limit that uniform draws exceed most. `strength` is chosen so that the mean over all
architectures is in the middle of that band, 92.5 % (found by bisection, the same for every seed; it may be negative).
So architectures of equal cost are equally likely. With several limits, it is enough that one is used to 85 %. If
nothing within the budget uses so much, the band is 85 to 100 % of the largest use. Small spaces are enumerated. In
large ones draws outside the band are repeated, and choices whose costs depend on each other (widths and their layers)
are drawn in turn, each given the others (Gibbs sampling).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from random import Random

from dnas.core.architecture import Kept
from dnas.cost.band import band, largest_use
from dnas.cost.bounds import Bounds, Range
from dnas.cost.layout import Group, Item, kept_of

# Spaces with at most this many architectures are enumerated.
SMALL = 20_000
# Number of draws outside the band in a larger space; after these, an architecture that uses most of the budget is
# taken.
TRIES = 20_000
# For the bisection: draws for a mean, halvings, and the largest strength.
_PROBES, _HALVINGS, _STRONGEST = 64, 20, 500.0
_SWEEPS = 10
# Weights below exp of this are raised to it, so that none is 0.
_LEAST_EXPONENT = -60.0


@dataclass(frozen=True)
class BandDraws:
    """Draws architectures within bounds that use most of them.

    Args:
        bounds: the limits.
    """

    bounds: Bounds

    def __call__(self, random: Random) -> dict[str, Kept]:
        """Draw one architecture."""
        if self._fitting is not None:
            return self._kept(random.choices(self._fitting, self._weights)[0])
        for _ in range(TRIES):
            items = self._drawn(random, self._strength)
            if self._is_in_band(items):
                return self._kept(items)
        return self._largest

    @cached_property
    def _largest(self) -> dict[str, Kept]:
        return largest_use(self.bounds)

    @cached_property
    def _band(self) -> tuple[float, float]:
        return band(self.bounds, self._largest)

    def _is_in_band(self, items: Sequence[Item]) -> bool:
        kept = self._kept(items)
        return self.bounds.fits(kept) and self.bounds.use(kept) >= self._band[0]

    def _kept(self, items: Sequence[Item]) -> dict[str, Kept]:
        return kept_of(items, self.bounds.program.decisions)

    # Small spaces

    @cached_property
    def _fitting(self) -> list[tuple[Item, ...]] | None:
        """All architectures in the band; None if there are too many to enumerate."""
        groups = self.bounds.program.groups
        if math.prod(_num_ways(group) for group in groups) > SMALL:
            return None
        every = product(*(list(_ways(group)) for group in groups))
        whole = (tuple(item for part in parts for item in part) for parts in every)
        return [items for items in whole if self._is_in_band(items)]

    @cached_property
    def _weights(self) -> list[float]:
        return [math.exp(-self._strength * (self._share(items) - self._band[1])) for items in self._fitting or ()]

    # The distribution

    @cached_property
    def _axis(self) -> Range:
        """The limit that uniform draws exceed most."""
        random = Random(0)
        draws = [self._kept(_uniform(self.bounds.program.groups, random)) for _ in range(_PROBES)]
        decisions = self.bounds.program.decisions
        return max(self.bounds.ranges, key=lambda one: sum(one.cost.of(kept, decisions) for kept in draws) / one.most)

    def _share(self, items: Sequence[Item]) -> float:
        """The share of the axis's limit that these items use."""
        return self._axis.cost.of(self._kept(items), self.bounds.program.decisions) / self._axis.most

    @cached_property
    def _strength(self) -> float:
        middle = sum(self._band) / 2

        def mean(strength: float) -> float:
            random = Random(0)
            return sum(self._share(self._drawn(random, strength)) for _ in range(_PROBES)) / _PROBES

        low, high = -_STRONGEST, _STRONGEST  # the mean falls with the strength
        for _ in range(_HALVINGS):
            strength = (low + high) / 2
            low, high = (strength, high) if mean(strength) > middle else (low, strength)
        return (low + high) / 2

    def _drawn(self, random: Random, strength: float) -> list[Item]:
        """Draw one architecture, inside or outside the band."""
        groups = self.bounds.program.groups
        tied = {name for names in self._axis.cost.pairs for name in names}
        chosen = {
            index: _weighted(
                group, {item: self._axis.cost.at(item) for item in group.items}, self._scale(strength), random
            )
            for index, group in enumerate(groups)
            if group.decision not in tied
        }
        chosen |= {index: list(group.rows[0][:1]) for index, group in enumerate(groups) if group.decision in tied}
        for _ in range(_SWEEPS if tied else 0):
            for index, group in enumerate(groups):
                if group.decision in tied:
                    others = {items[0].decision: items[0] for i, items in chosen.items() if i != index}
                    costs = {item: self._axis.cost.beside(item, others) for item in group.items}
                    chosen[index] = _weighted(group, costs, self._scale(strength), random)
        return [item for index in range(len(groups)) for item in chosen[index]]

    def _scale(self, strength: float) -> float:
        return strength / self._axis.most


def _weighted(group: Group, costs: Mapping[Item, float], scale: float, random: Random) -> list[Item]:
    """Items of a group, with probability proportional to the product of exp(-scale cost)."""
    exponents = {item: -scale * cost for item, cost in costs.items()}
    top = max(exponents.values())
    weights = {item: math.exp(max(x - top, _LEAST_EXPONENT)) for item, x in exponents.items()}
    odds = [sum(weights[item] for item in row) for row in group.rows]
    # ways[r][j]: the sum over all ways to keep j of the rows from r on.
    ways = [[1.0] + [0.0] * group.most]
    for o in reversed(odds):
        after = ways[0]
        ways.insert(0, [after[0], *(after[j] + o * after[j - 1] for j in range(1, group.most + 1))])
    numbers = range(group.least, group.most + 1)
    (left,) = random.choices(numbers, [ways[0][j] for j in numbers])
    kept: list[Item] = []
    for r, row in enumerate(group.rows):
        if left and random.random() * ways[r][left] < odds[r] * ways[r + 1][left - 1]:
            kept += random.choices(row, [weights[item] for item in row])
            left -= 1
    return kept


def _uniform(groups: Sequence[Group], random: Random) -> list[Item]:
    return [item for group in groups for item in _weighted(group, dict.fromkeys(group.items, 0.0), 0.0, random)]


def _num_ways(group: Group) -> int:
    ways = [1] + [0] * group.most
    for row in group.rows:
        for j in range(group.most, 0, -1):
            ways[j] += ways[j - 1] * len(row)
    return sum(ways[group.least :])


def _ways(group: Group) -> Iterator[tuple[Item, ...]]:
    for number in range(group.least, group.most + 1):
        for rows in combinations(group.rows, number):
            yield from product(*rows)
