"""The best widths and blocks within limits, by integer programming.

One x in {0, 1} for each value that a decision may take. Two decisions whose values are multiplied in a cost have
y >= 0 for each pair of values, shared by all layers in which they meet:

    maximise    sum score_d(v) x_dv
    such that   sum_v x_dv = 1                                              for each decision d
                sum_w y_dv,ew = x_dv,  sum_v y_dv,ew = x_ew                  for each pair d, e that meets
                x_g0 = x_b0                                                  for widths g inside of a block b
                sum of cost coefficients times x and y <= limit              for each limit

For whole x this leaves y = x x; see `dnas.cost.binary_program`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from dnas.cost.binary_program import BinaryProgram
from dnas.shrinking.costs import ByValue, Cost, Value


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
            bounds: each cost multiplies at most three different decisions.

        Raises:
            MissingPackage: scipy is not installed.
        """
        return self._best(scores, bounds)

    def cheapest(self, cost: Cost, bounds: Sequence[Bound] = ()) -> dict[str, int] | None:
        """The values of the least cost within all bounds."""
        found = cost.by_value(self.values)
        costs: dict[Any, float] = {**found.single, **found.pairs, **found.triples}
        unit = max(map(abs, costs.values()), default=1.0) or 1.0
        return self._best({key: -one / unit for key, one in costs.items()}, bounds, found)

    def _best(
        self, scores: Mapping[Any, float], bounds: Sequence[Bound], scored: ByValue | None = None
    ) -> dict[str, int] | None:
        """The best values, where `scored` has the products among the scores."""
        rows: BinaryProgram[Any] = BinaryProgram(value for name in self.values for value in self._values_of(name))
        for name in self.values:
            rows.add(dict.fromkeys(self._values_of(name), 1.0), 1.0, 1.0)
        for group, block in self.inside.items():
            rows.add({(group, 0): 1.0, (block, 0): -1.0}, 0.0, 0.0)
        if scored is not None:
            self._multiply(rows, scored)
        for bound in bounds:
            own = bound.cost.by_value(self.values)
            self._multiply(rows, own)
            # Counts are large numbers: in units of the limit the solver's tolerance means something.
            unit = max(abs(bound.most), 1.0)
            costs: dict[Any, float] = {**own.single, **own.pairs, **own.triples}
            rows.add({key: cost / unit for key, cost in costs.items()}, -math.inf, (bound.most - own.constant) / unit)

        def fits(chosen: Sequence[Value]) -> bool:
            return all(bound.cost.of(dict(chosen)) <= bound.most for bound in bounds)

        found = rows.best(scores, fits)
        return None if found is None else dict(found)

    def _multiply(self, rows: BinaryProgram[Any], cost: ByValue) -> None:
        """Products of two values, and of such products with a third."""
        together = [(a[0], b[0]) for a, b in cost.pairs]
        threes = dict.fromkeys((a[0], b[0], c[0]) for (a, b), c in cost.triples)
        for one, other in dict.fromkeys([*together, *((a, b) for a, b, _ in threes)]):
            rows.multiply(self._values_of(one), self._values_of(other))
        for one, other, third in threes:
            rows.multiply([*product(self._values_of(one), self._values_of(other))], self._values_of(third))

    def _values_of(self, name: str) -> list[Value]:
        return [(name, value) for value in self.values[name]]
