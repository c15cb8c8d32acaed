"""The limits of a budget as numbers of a model's own costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dnas.core.decision import Decision
from dnas.cost.bounds import amount
from dnas.cost.budget import Budget, Limit
from dnas.cost.limits import Expected, Limits
from dnas.shrinking.costs import Cost, Value
from dnas.shrinking.expected import ExpectedCosts
from dnas.shrinking.milliseconds import Predicted
from dnas.shrinking.program import Bound, Program
from dnas.shrinking.searchable import Narrowable
from dnas.system.errors import UserError

_MS = "milliseconds"


@dataclass(frozen=True)
class WidthLimits(Limits):
    """The limits of a budget on widths and blocks.

    Args:
        program: decisions and their values.
        budget: as it was given.
        bounds: its limits.
    """

    program: Program
    budget: Budget
    bounds: Sequence[Bound]

    @property
    def units(self) -> list[str]:
        return [limit.unit for limit in self.budget.parsed]

    @property
    def most(self) -> list[float]:
        return [bound.most for bound in self.bounds]

    @property
    def milliseconds(self) -> Bound | None:
        """The limit in milliseconds, if there is one."""
        return next((bound for bound, unit in zip(self.bounds, self.units, strict=True) if unit == _MS), None)

    def tightened(self, factor: float) -> WidthLimits:
        """The same with a limit in milliseconds that is lower by a factor."""
        bounds = [
            Bound(bound.cost, bound.most * factor) if unit == _MS else bound
            for bound, unit in zip(self.bounds, self.units, strict=True)
        ]
        return replace(self, bounds=bounds)

    def looser(self, factor: float) -> WidthLimits:
        """The same with all limits higher by a factor."""
        return replace(self, bounds=[Bound(bound.cost, bound.most * factor) for bound in self.bounds])

    def best(self, scores: Mapping[Value, float]) -> dict[str, int]:
        """The values of the highest sum of scores within all limits.

        Raises:
            UserError: there are none.
        """
        found = self.program.best(scores, self.bounds)
        if found is None:
            raise UserError("No network keeps all limits of the budget at once, though one keeps each; loosen one.")
        return found

    def best_or_fastest(self, scores: Mapping[Value, float]) -> dict[str, int]:
        """The best values; where none keep a limit in milliseconds, which was tightened too far, the fastest ones."""
        found = self.program.best(scores, self.bounds)
        if found is None and self.milliseconds is not None:
            others = [bound for bound, unit in zip(self.bounds, self.units, strict=True) if unit != _MS]
            found = self.program.cheapest(self.milliseconds.cost, others)
        return self.best(scores) if found is None else found

    def expected(self, decisions: Mapping[str, Decision], threshold: float | None) -> Expected:
        assert threshold is None, "widths compete"
        return ExpectedCosts(self.program, [bound.cost for bound in self.bounds])


def limits_of(
    budget: Budget, searchable: Narrowable, program: Program, milliseconds: Predicted | None = None
) -> WidthLimits:
    """The limits in numbers, each of which some network keeps; shares are of the model as it is.

    Args:
        budget: as it was given.
        searchable: the model.
        program: its decisions.
        milliseconds: predictions, for a limit in them.

    Raises:
        UserError: the smallest network is above a limit.
    """
    bounds = []
    for limit in budget.parsed:
        cost, whole, unit = _cost(limit, searchable, milliseconds)
        bound = Bound(cost, limit.number * (whole if limit.is_share else unit))
        smallest = program.cheapest(cost)
        assert smallest is not None
        least = cost.of(smallest)
        if bound.most < least:
            raise UserError(
                f"The budget {limit} is out of reach: {limit.unit} of this model can be from {amount(least / unit)} "
                f"({100 * least / whole:.1f} %) to {amount(whole / unit)}."
            )
        bounds.append(bound)
    return WidthLimits(program, budget, bounds)


def has_milliseconds(budget: Budget) -> bool:
    """Whether a limit is in milliseconds."""
    return any(limit.unit == _MS for limit in budget.parsed)


def _cost(limit: Limit, searchable: Narrowable, milliseconds: Predicted | None) -> tuple[Cost, float, int]:
    """The cost that a limit is about, that of the model as it is, and how much of it is one of the limit's unit."""
    if limit.unit == _MS:
        assert milliseconds is not None
        return milliseconds.table, milliseconds.whole, 1
    cost = searchable.parameters if limit.unit == "parameters" else searchable.flops
    return cost, cost.of(searchable.largest), 2 if limit.unit == "multiadds" else 1
