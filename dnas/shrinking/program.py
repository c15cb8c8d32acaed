"""The best widths and blocks within limits, by integer programming.

One x in {0, 1} for each value that a decision may take. Two decisions whose values are multiplied in a cost have
y >= 0 for each pair of values, shared by all layers in which they meet:

    maximise    sum score_d(v) x_dv
    such that   sum_v x_dv = 1                                              for each decision d
                sum_w y_dv,ew = x_dv,  sum_v y_dv,ew = x_ew                  for each pair d, e that meets
                x_g0 = x_b0                                                  for widths g inside of a block b
                sum of cost coefficients times x and y <= limit              for each limit

For whole x this leaves y = x x. HiGHS (Huangfu and Hall 2018, https://doi.org/10.1007/s12532-017-0130-5) solves it by
`scipy.optimize.milp` with a gap of 0.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from dnas.shrinking.costs import Cost
from dnas.system.errors import MissingPackage

# A decision and one of its values.
Value = tuple[str, int]
Pair = tuple[Value, Value]

# A solution that is over a limit by the solver's tolerance is ruled out, and the next is asked for; so often at most.
_TRIES = 100


class Bound(NamedTuple):
    """The largest cost that is allowed."""

    cost: Cost
    most: float


@dataclass(frozen=True)
class Program:
    """Decisions and the values that they may take.

    Args:
        values: for every decision by name: numbers of classes, or 0 and 1 for a block.
        inside: for a group of channels that never leave a block, the block: both are 0 together.
    """

    values: Mapping[str, Sequence[int]]
    inside: Mapping[str, str]

    def best(self, scores: Mapping[Value, float], bounds: Sequence[Bound]) -> dict[str, int] | None:
        """The values of the highest sum of scores within all bounds; None where there are none.

        Args:
            scores: a finite number for each value of each decision; what is missing counts as 0.
            bounds: each cost multiplies at most two different decisions.

        Raises:
            MissingPackage: scipy is not installed.
        """
        return self._solved(scores, {}, bounds)

    def cheapest(self, cost: Cost, bounds: Sequence[Bound] = ()) -> dict[str, int] | None:
        """The values of the least cost within all bounds."""
        single, pairs, _ = _by_value(cost, self.values)
        unit = max((abs(one) for one in (*single.values(), *pairs.values())), default=1.0) or 1.0
        return self._solved(
            {value: -one / unit for value, one in single.items()},
            {pair: -one / unit for pair, one in pairs.items()},
            bounds,
        )

    def _solved(
        self, scores: Mapping[Value, float], pair_scores: Mapping[Pair, float], bounds: Sequence[Bound]
    ) -> dict[str, int] | None:
        rows = _Rows(self)
        for pair in pair_scores:
            rows.meet(pair[0][0], pair[1][0])
        for bound in bounds:
            rows.limit(bound)
        for _ in range(_TRIES):
            found = rows.solve(scores, pair_scores)
            if found is None or all(bound.cost.of(found) <= bound.most for bound in bounds):
                return found
            rows.rule_out(found)
        raise AssertionError(f"{_TRIES} solutions were over a limit by the solver's tolerance")


class _Rows:
    """The program as scipy takes it: rows of coefficients with a least and a most."""

    def __init__(self, program: Program) -> None:
        self._program = program
        values = [(name, value) for name, some in program.values.items() for value in some]
        self._column: dict[Value | Pair, int] = {value: index for index, value in enumerate(values)}
        self._whole = len(values)
        self._met: set[tuple[str, str]] = set()
        self._rows: list[tuple[dict[int, float], float, float]] = []
        for name, some in program.values.items():
            self._add({(name, value): 1.0 for value in some}, 1.0, 1.0)
        for group, block in program.inside.items():
            self._add({(group, 0): 1.0, (block, 0): -1.0}, 0.0, 0.0)

    def meet(self, one: str, other: str) -> None:
        """Variables for the pairs of values of two decisions."""
        if (one, other) in self._met:
            return
        self._met.add((one, other))
        ours, theirs = ([(name, value) for value in self._program.values[name]] for name in (one, other))
        for pair in itertools.product(ours, theirs):
            self._column[pair] = len(self._column)
        for a in ours:
            self._add({a: -1.0, **{(a, b): 1.0 for b in theirs}}, 0.0, 0.0)
        for b in theirs:
            self._add({b: -1.0, **{(a, b): 1.0 for a in ours}}, 0.0, 0.0)

    def limit(self, bound: Bound) -> None:
        single, pairs, constant = _by_value(bound.cost, self._program.values)
        for a, b in pairs:
            self.meet(a[0], b[0])
        # Counts are large numbers: in units of the limit the solver's tolerance means something.
        unit = max(abs(bound.most), 1.0)
        row: dict[Value | Pair, float] = {value: cost / unit for value, cost in single.items()}
        row |= {pair: cost / unit for pair, cost in pairs.items()}
        self._add(row, -math.inf, (bound.most - constant) / unit)

    def rule_out(self, found: Mapping[str, int]) -> None:
        """Anything but these values."""
        self._add(dict.fromkeys(found.items(), 1.0), -math.inf, len(found) - 1.0)

    def solve(self, scores: Mapping[Value, float], pair_scores: Mapping[Pair, float]) -> dict[str, int] | None:
        try:
            from scipy.optimize import Bounds, LinearConstraint, milp
            from scipy.sparse import csr_array
        except ImportError as error:
            raise MissingPackage('Budgets need scipy: pip install ".[cli]" in a clone of dnas') from error
        size = len(self._column)
        entries = [(i, column, value) for i, (row, _, _) in enumerate(self._rows) for column, value in row.items()]
        places = [i for i, _, _ in entries], [column for _, column, _ in entries]
        matrix = csr_array(([value for _, _, value in entries], places), shape=(len(self._rows), size))
        objective = np.zeros(size)
        for key, score in (*scores.items(), *pair_scores.items()):
            objective[self._column[key]] -= score
        least, most = [row[1] for row in self._rows], [row[2] for row in self._rows]
        found = milp(
            objective,
            integrality=np.arange(size) < self._whole,
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(matrix, least, most),  # pyright: ignore[reportArgumentType]
            options={"mip_rel_gap": 0.0},
        )
        if found.status == 2:  # infeasible
            return None
        assert found.status == 0, found.message
        chosen = itertools.islice(self._column, self._whole)
        return {key[0]: key[1] for key, x in zip(chosen, found.x, strict=False) if x > 0.5}  # pyright: ignore

    def _add(self, row: Mapping[Value | Pair, float], least: float, most: float) -> None:
        self._rows.append(({self._column[key]: value for key, value in row.items()}, least, most))


def _by_value(cost: Cost, values: Mapping[str, Sequence[int]]) -> tuple[dict[Value, float], dict[Pair, float], float]:
    """The cost of each value, of each pair of values, and what is always there."""
    single: dict[Value, float] = defaultdict(float)
    pairs: dict[Pair, float] = defaultdict(float)
    constant = 0.0
    for names, scale in cost.terms.items():
        distinct = sorted(set(names))
        assert len(distinct) <= 2, f"three decisions in one product: {names}"
        if not distinct:
            constant += scale
            continue
        for chosen in itertools.product(*([(name, value) for value in values[name]] for name in distinct)):
            product = scale * prod(dict(chosen)[name] for name in names)
            if len(chosen) == 1:
                single[chosen[0]] += product
            else:
                pairs[chosen[0], chosen[1]] += product
    return single, pairs, constant
