"""A cost that was measured at some widths, and is interpolated between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from dnas.shrinking.costs import ByValue, Cost, Names, Pair, Value


@dataclass(frozen=True)
class TimeTable(Cost):
    """A constant plus a table for each one or two decisions; a table counts 0 where one of its decisions is 0.

    Args:
        constant: what is always there.
        knots: for each decision the values that were measured, in ascending order.
        tables: by one or two names: a number for each knot, or for each pair of knots.
    """

    constant: float
    knots: Mapping[str, Sequence[int]]
    tables: Mapping[Names, Mapping[tuple[int, ...], float]]

    def of(self, values: Mapping[str, int]) -> float:
        return self.constant + sum(self._at(names, [values[name] for name in names]) for names in self.tables)

    def by_value(self, values: Mapping[str, Sequence[int]]) -> ByValue:
        single: dict[Value, float] = defaultdict(float)
        pairs: dict[Pair, float] = defaultdict(float)
        for names in self.tables:
            for chosen in product(*(values[name] for name in names)):
                amount = self._at(names, chosen)
                if len(names) == 1:
                    single[names[0], chosen[0]] += amount
                else:
                    pairs[(names[0], chosen[0]), (names[1], chosen[1])] += amount
        return ByValue(single, pairs, self.constant)

    def corrected(self, constant: float, scale: float) -> TimeTable:
        """constant + scale times this cost."""
        tables = {names: {at: scale * value for at, value in table.items()} for names, table in self.tables.items()}
        return TimeTable(constant + scale * self.constant, self.knots, tables)

    def _at(self, names: Names, values: Sequence[int]) -> float:
        """Linear in each value between its knots."""
        if not all(values):
            return 0.0
        table = self.tables[names]
        corners = [_around(self.knots[name], value) for name, value in zip(names, values, strict=True)]
        total = 0.0
        for corner in product(*corners):
            share = 1.0
            for _, weight in corner:
                share *= weight
            total += share * table[tuple(knot for knot, _ in corner)] if share else 0.0
        return total

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        tables = [
            {"names": list(names), "entries": [[*at, value] for at, value in table.items()]}
            for names, table in self.tables.items()
        ]
        return {
            "constant": self.constant,
            "knots": {name: list(knots) for name, knots in self.knots.items()},
            "tables": tables,
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> TimeTable:
        """What `to_data` gave."""
        tables = {
            tuple(one["names"]): {tuple(entry[:-1]): entry[-1] for entry in one["entries"]} for one in data["tables"]
        }
        return TimeTable(data["constant"], {name: tuple(knots) for name, knots in data["knots"].items()}, tables)


def _around(knots: Sequence[int], value: int) -> list[tuple[int, float]]:
    """The knots on both sides of a value, with their weights; outside the first or last one alone."""
    if value <= knots[0]:
        return [(knots[0], 1.0)]
    for low, high in pairwise(knots):
        if value <= high:
            share = (value - low) / (high - low)
            return [(low, 1 - share), (high, share)]
    return [(knots[-1], 1.0)]
