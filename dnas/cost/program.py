"""The best architecture within limits, by integer programming.

One variable in {0, 1} for each item that may be kept (see `dnas.cost.layout`):

    maximise    sum_i score_i x_i
    such that   least_g <= sum of x over group g <= most_g
                sum of x over a row <= 1
                sum of x over a capped candidate <= its cap
                constant_b + sum_i cost_bi x_i + sum_jk cost_bjk y_jk <= bound_b        for each limit b

where y_jk = x_j x_k for a pair of choices that cost something together; see `dnas.cost.binary_program`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active
from dnas.cost.binary_program import BinaryProgram
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import Group, Item, groups, kept_of

# An item, or two that are kept together.
Variable = Item | tuple[Item, Item]


class Cap(NamedTuple):
    """At most `most` edges of a cell keep this candidate (P-DARTS, Chen et al. 2019, section 3.3).

    If a node has nothing else to offer, more of them stay.
    """

    decision: str
    candidate: str
    most: int


class Bound(NamedTuple):
    """The largest and the least cost that is allowed."""

    cost: Decomposition
    most: float
    least: float = -math.inf


@dataclass(frozen=True)
class Program:
    """The architectures that some decisions allow.

    Args:
        decisions: decisions by name; weights of edges are skipped.
        options: for each row of each decision, the candidates that may be kept.
        independent: whether cells and input choices are gates, as in `dnas.cost.layout.groups`.
        caps: limits on candidates in cells.
        one_per_edge: whether gates keep one candidate of an edge at most.
    """

    decisions: Mapping[str, Decision]
    options: Mapping[str, Active]
    independent: bool = False
    caps: Sequence[Cap] = ()
    one_per_edge: bool = False
    groups: list[Group] = field(init=False)
    items: list[Item] = field(init=False)

    def __post_init__(self) -> None:
        own = groups(self.decisions, self.options, independent=self.independent, one_per_edge=self.one_per_edge)
        object.__setattr__(self, "groups", own)
        object.__setattr__(self, "items", [item for group in self.groups for item in group.items])

    def best(self, scores: Mapping[Item, float], bounds: Sequence[Bound] = ()) -> dict[str, Kept] | None:
        """The architecture with the highest sum of scores within all bounds; None if there is none.

        Args:
            scores: a finite number for each item; missing ones count as 0.
            bounds: limits that the architecture must meet exactly.

        Raises:
            MissingPackage: scipy is not installed.
        """
        return self._best(scores, bounds)

    def cheapest(self, cost: Decomposition, bounds: Sequence[Bound] = ()) -> dict[str, Kept] | None:
        """The architecture with the least cost within all bounds; None if there is none."""
        return self._extreme(cost, -1.0, bounds)

    def costliest(
        self, cost: Decomposition, bounds: Sequence[Bound] = (), *, gap: float = 0.0
    ) -> dict[str, Kept] | None:
        """The architecture with the greatest cost within all bounds; None if there is none.

        Args:
            cost: the cost to maximise.
            bounds: limits that it must meet exactly. How close one can come to a bound on `cost` itself is a subset-sum
                problem, for which a gap of 0 may take forever.
            gap: share of the greatest cost by which the result may fall short.
        """
        return self._extreme(cost, 1.0, bounds, gap)

    def _extreme(
        self, cost: Decomposition, sign: float, bounds: Sequence[Bound], gap: float = 0.0
    ) -> dict[str, Kept] | None:
        unit = _unit(cost, self.items)
        return self._best({key: sign * value / unit for key, value in self._costs(cost).items()}, bounds, [cost], gap)

    def _best(
        self,
        scores: Mapping[Any, float],
        bounds: Sequence[Bound],
        scored: Sequence[Decomposition] = (),
        gap: float = 0.0,
    ) -> dict[str, Kept] | None:
        """The best architecture, where the pairs of `scored` have scores."""
        if any(not group.rows for group in self.groups):
            return None
        rows = self._rows([*(bound.cost for bound in bounds), *scored])
        for bound in bounds:
            # Counts are multiples of large numbers (pixels times channels); dividing by these leaves small numbers.
            unit = _unit(bound.cost, self.items)
            least, most = ((end - bound.cost.constant) / unit for end in (bound.least, bound.most))
            rows.add({key: value / unit for key, value in self._costs(bound.cost).items() if value}, least, most)

        def fits(items: Sequence[Item]) -> bool:
            kept = kept_of(items, self.decisions)
            return all(bound.least <= bound.cost.of(kept, self.decisions) <= bound.most for bound in bounds)

        found = rows.best(scores, fits, gap=gap)
        return None if found is None else kept_of(found, self.decisions)

    def _rows(self, costs: Sequence[Decomposition]) -> BinaryProgram[Item]:
        """What may be kept, with a product for each two items that have a cost together."""
        rows = BinaryProgram(self.items)
        for group in self.groups:
            rows.add(dict.fromkeys(group.items, 1.0), group.least, group.most)
            if group.most > 1:
                for row in group.rows:
                    if len(row) > 1:
                        rows.add(dict.fromkeys(row, 1.0), 0.0, 1.0)
        for cap in self.caps:
            self._cap(rows, cap)
        for a, b in dict.fromkeys(names for cost in costs for names in cost.pairs):
            rows.multiply(self._items(a), self._items(b))
        return rows

    def _cap(self, rows: BinaryProgram[Item], cap: Cap) -> None:
        decision = self.decisions[cap.decision]

        def is_capped(item: Item) -> bool:
            return decision.names(item.row)[item.candidate] == cap.candidate

        needed = 0  # number of nodes that have nothing else
        row: dict[Item, float] = {}
        for group in self.groups:
            if group.decision == cap.decision:
                others = sum(any(not is_capped(item) for item in own) for own in group.rows)
                needed += max(group.least - others, 0)
                row |= {item: 1.0 for item in group.items if is_capped(item)}
        rows.add(row, 0.0, max(cap.most, needed))

    def _items(self, decision: str) -> list[Item]:
        return [item for item in self.items if item.decision == decision]

    def _costs(self, cost: Decomposition) -> dict[Variable, float]:
        """The cost of each item, and of each two that have one together."""
        found: dict[Variable, float] = {item: cost.at(item) for item in self.items}
        for (a, b), table in cost.pairs.items():
            found |= {
                (one, other): table[one.candidate][other.candidate]
                for one in self._items(a)
                for other in self._items(b)
            }
        return found


def _unit(cost: Decomposition, items: Sequence[Item]) -> float:
    """The common divisor of all costs if they are whole numbers; otherwise the largest of them."""
    values = [cost.at(item) for item in items] + [x for table in cost.pairs.values() for row in table for x in row]
    if all(value == int(value) for value in values):
        return float(math.gcd(*(int(value) for value in values))) or 1.0
    return max(abs(value) for value in values)
