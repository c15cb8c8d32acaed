"""The best architecture within limits, by integer programming.

One variable in {0, 1} for each item that may be kept (see `dnas.cost.layout`):

    maximise    sum_i score_i x_i
    such that   least_g <= sum of x over group g <= most_g
                sum of x over a row <= 1
                sum of x over a capped candidate <= its cap
                constant_b + sum_i cost_bi x_i + sum_jk cost_bjk y_jk <= bound_b        for each limit b

A pair of choices that cost something together has y_jk >= 0 with sum_k y_jk = x_j and sum_j y_jk = x_k, which for whole
x leaves y_jk = x_j x_k alone. HiGHS (Huangfu and Hall 2018, https://doi.org/10.1007/s12532-017-0130-5) solves it by
`scipy.optimize.milp` with a gap of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.core.mixture import Active
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import Group, Item, groups, kept_of
from dnas.system.errors import MissingPackage

# A solution that exceeds a limit by no more than the solver's tolerance is excluded, and the solver is called again, at
# most this many times.
TRIES = 1000


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
    """

    decisions: Mapping[str, Decision]
    options: Mapping[str, Active]
    independent: bool = False
    caps: Sequence[Cap] = ()
    groups: list[Group] = field(init=False)
    items: list[Item] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", groups(self.decisions, self.options, independent=self.independent))
        object.__setattr__(self, "items", [item for group in self.groups for item in group.items])

    def best(self, scores: Mapping[Item, float], bounds: Sequence[Bound] = ()) -> dict[str, Kept] | None:
        """The architecture with the highest sum of scores within all bounds; None if there is none.

        Args:
            scores: a finite number for each item; missing ones count as 0.
            bounds: limits that the architecture must meet exactly.

        Raises:
            MissingPackage: scipy is not installed.
        """
        return self._solved(_Matrix(self, [bound.cost for bound in bounds]), scores, bounds)

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
        matrix = _Matrix(self, [*(bound.cost for bound in bounds), cost])
        scores = {item: sign * cost.at(item) / unit for item in self.items}
        pairs = {(a, b): sign * value / unit for (a, b), value in matrix.pair_costs(cost).items()}
        return self._solved(matrix, scores, bounds, pairs, gap)

    def _solved(
        self,
        matrix: _Matrix,
        scores: Mapping[Item, float],
        bounds: Sequence[Bound],
        pair_scores: Mapping[tuple[Item, Item], float] = {},
        gap: float = 0.0,
    ) -> dict[str, Kept] | None:
        if any(not group.rows for group in self.groups):
            return None
        for bound in bounds:
            matrix.limit(bound)
        for _ in range(TRIES):
            kept_items = matrix.solve(scores, pair_scores, gap)
            if kept_items is None:
                return None
            kept = kept_of(kept_items, self.decisions)
            if all(bound.least <= bound.cost.of(kept, self.decisions) <= bound.most for bound in bounds):
                return kept
            matrix.rule_out(kept_items)
        raise AssertionError(f"{TRIES} solutions were over a limit by the solver's tolerance")


class _Matrix:
    """The rows of the program in scipy's form."""

    def __init__(self, program: Program, costs: Sequence[Decomposition]):
        self.items = program.items
        self.column = {item: index for index, item in enumerate(self.items)}
        self.pairs: dict[tuple[Item, Item], int] = {}
        self.rows: list[tuple[dict[int, float], float, float]] = []  # (column -> coefficient, at least, at most)
        for group in program.groups:
            self._add({self.column[item]: 1.0 for item in group.items}, group.least, group.most)
            if group.most > 1:
                for row in group.rows:
                    if len(row) > 1:
                        self._add({self.column[item]: 1.0 for item in row}, 0.0, 1.0)
        for cap in program.caps:
            self._cap(program, cap)
        for a, b in dict.fromkeys(names for cost in costs for names in cost.pairs):
            self._pair(a, b)

    def limit(self, bound: Bound) -> None:
        """Require that a bound is met."""
        # Counts are multiples of large numbers (pixels times channels); dividing by these leaves small numbers.
        unit = _unit(bound.cost, self.items)
        row = {self.column[item]: bound.cost.at(item) / unit for item in self.items if bound.cost.at(item)}
        row |= {self.pairs[pair]: value / unit for pair, value in self.pair_costs(bound.cost).items()}
        least, most = ((end - bound.cost.constant) / unit for end in (bound.least, bound.most))
        self._add(row, least, most)

    def rule_out(self, kept: Sequence[Item]) -> None:
        """Exclude the architecture with exactly these items."""
        chosen = set(kept)
        row = {column: 1.0 if item in chosen else -1.0 for item, column in self.column.items()}
        self._add(row, -math.inf, len(chosen) - 1)

    def solve(
        self, scores: Mapping[Item, float], pair_scores: Mapping[tuple[Item, Item], float], gap: float
    ) -> list[Item] | None:
        """The kept items of the best solution; None if nothing fits."""
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
            from scipy.sparse import csr_array
        except ImportError as error:
            raise MissingPackage('Budgets need scipy: pip install ".[cli]" in a clone of dnas') from error
        size = len(self.items) + len(self.pairs)
        entries = [(row, column, x) for row, (line, _, _) in enumerate(self.rows) for column, x in line.items()]
        numbers, places = [x for *_, x in entries], ([row for row, *_ in entries], [column for _, column, _ in entries])
        matrix = csr_array((numbers, places), shape=(len(self.rows), size))
        least, most = ([row[end] for row in self.rows] for end in (1, 2))
        objective = numpy.zeros(size)
        objective[: len(self.items)] = [-scores.get(item, 0.0) for item in self.items]
        for pair, value in pair_scores.items():
            objective[self.pairs[pair]] = -value
        found: Any = milp(
            objective,
            integrality=numpy.arange(size) < len(self.items),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, least, most),  # pyright: ignore[reportArgumentType]
            options={"mip_rel_gap": gap},
        )
        if found.status == 2:  # infeasible
            return None
        assert found.status == 0, found.message
        return [item for item, value in zip(self.items, found.x, strict=False) if value > 0.5]

    def pair_costs(self, cost: Decomposition) -> dict[tuple[Item, Item], float]:
        """The cost of keeping two items together, for each pair with such a cost."""
        return {(one, other): value for one, other in self.pairs if (value := _pair_cost(cost, one, other))}

    def _add(self, row: dict[int, float], least: float, most: float) -> None:
        self.rows.append((row, least, most))

    def _cap(self, program: Program, cap: Cap) -> None:
        decision = program.decisions[cap.decision]

        def is_capped(item: Item) -> bool:
            return decision.names(item.row)[item.candidate] == cap.candidate

        needed = 0  # number of nodes that have nothing else
        row: dict[int, float] = {}
        for group in program.groups:
            if group.decision == cap.decision:
                others = sum(any(not is_capped(item) for item in own) for own in group.rows)
                needed += max(group.least - others, 0)
                row |= {self.column[item]: 1.0 for item in group.items if is_capped(item)}
        self._add(row, 0.0, max(cap.most, needed))

    def _pair(self, a: str, b: str) -> None:
        """Add y >= 0 for each pair of candidates, whose sums are the x of either side."""
        ours, theirs = ([item for item in self.items if item.decision == name] for name in (a, b))
        for one in ours:
            for other in theirs:
                self.pairs[one, other] = len(self.items) + len(self.pairs)
        for one in ours:
            self._add({self.column[one]: -1.0, **{self.pairs[one, other]: 1.0 for other in theirs}}, 0.0, 0.0)
        for other in theirs:
            self._add({self.column[other]: -1.0, **{self.pairs[one, other]: 1.0 for one in ours}}, 0.0, 0.0)


def _pair_cost(cost: Decomposition, one: Item, other: Item) -> float:
    table = cost.pairs.get((one.decision, other.decision))
    return 0.0 if table is None else table[one.candidate][other.candidate]


def _unit(cost: Decomposition, items: Sequence[Item]) -> float:
    """The common divisor of all costs if they are whole numbers; otherwise the largest of them."""
    values = [cost.at(item) for item in items] + [x for table in cost.pairs.values() for row in table for x in row]
    if all(value == int(value) for value in values):
        return float(math.gcd(*(int(value) for value in values))) or 1.0
    return max(abs(value) for value in values)
