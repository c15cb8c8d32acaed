"""The limits of a budget as numbers of a model's own costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnas.core.decision import Decision
from dnas.cost.budget import Budget, Limit
from dnas.cost.limits import Expected, Limits
from dnas.shrinking.costs import Cost
from dnas.shrinking.expected import ExpectedCosts
from dnas.shrinking.program import Bound, Program
from dnas.shrinking.searchable import Narrowable
from dnas.system.errors import UserError


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

    def expected(self, decisions: Mapping[str, Decision], threshold: float | None) -> Expected:
        assert threshold is None, "widths compete"
        return ExpectedCosts(self.program, [bound.cost for bound in self.bounds])


def limits_of(budget: Budget, searchable: Narrowable, program: Program) -> WidthLimits:
    """The limits in numbers, each of which some network keeps; shares are of the model as it is.

    Raises:
        UserError: a limit in milliseconds, or one that the smallest network is above.
    """
    bounds = []
    for limit in budget.parsed:
        cost, unit = _cost(limit, searchable)
        whole = cost.of(searchable.largest)
        bound = Bound(cost, limit.number * (whole if limit.is_share else unit))
        smallest = program.cheapest(cost)
        assert smallest is not None
        least = cost.of(smallest)
        if bound.most < least:
            raise UserError(
                f"The budget {limit} is out of reach: {limit.unit} of this model can be from {least / unit:,.0f} "
                f"({100 * least / whole:.1f} %) to {whole / unit:,.0f}."
            )
        bounds.append(bound)
    return WidthLimits(program, budget, bounds)


def _cost(limit: Limit, searchable: Narrowable) -> tuple[Cost, int]:
    """The cost that a limit is about, and how much of it is one of the limit's unit."""
    if limit.unit == "milliseconds":
        raise UserError(f"The budget {limit} is in milliseconds; a model can be shrunk by flops and parameters so far.")
    if limit.unit == "parameters":
        return searchable.parameters, 1
    return searchable.flops, 2 if limit.unit == "multiadds" else 1
