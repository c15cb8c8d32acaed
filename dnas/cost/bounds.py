"""The limits of a budget as numbers, beside the range of costs in a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from dnas.core.architecture import Kept
from dnas.core.decision import Decision
from dnas.cost.budget import Budget, Limit, Unit
from dnas.cost.chances import ExpectedCosts
from dnas.cost.counts import flops_of, parameters_of
from dnas.cost.decomposition import Decomposition
from dnas.cost.delivered import Delivered
from dnas.cost.flops import count_flops
from dnas.cost.limits import Expected, Limits
from dnas.cost.params import count_parameters
from dnas.cost.program import Bound, Program
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Range:
    """A limit, and the range of costs of all architectures that may be kept.

    Args:
        limit: the limit as it was written.
        cost: returns the cost of an architecture.
        least, largest: cost of the cheapest and of the costliest architecture.
    """

    limit: Limit
    cost: Decomposition
    least: float
    largest: float

    @property
    def most(self) -> float:
        """The limit in its unit."""
        return self.limit.number * self.largest if self.limit.is_share else self.limit.number

    @property
    def changes_nothing(self) -> bool:
        """Whether every architecture is within the limit."""
        return self.most >= self.largest

    def check(self) -> None:
        """See that there is a network within the limit.

        Raises:
            UserError: names both ends of the range.
        """
        unit = self.limit.unit
        if self.most < self.least:
            raise UserError(
                f"The budget {self.limit} is {amount(self.most)} {unit}, below the smallest network of this space: its "
                f"networks have from {amount(self.least)} to {amount(self.largest)} {unit}. Give {unit}<="
                f"{_number_above(self.least)} or more, or make the network smaller (channels, cells, image size)."
            )

    @property
    def bound(self) -> Bound:
        return Bound(self.cost, self.most)

    def __str__(self) -> str:
        """One line for a person."""
        unit = self.limit.unit
        text = f"{unit}: from {amount(self.least)} to {amount(self.largest)} in this space; at most {amount(self.most)}"
        if self.changes_nothing:
            return f"{text}, which changes nothing"
        return f"{text} ({self.most / self.largest:.1%} of the largest)"


@dataclass(frozen=True)
class Bounds(Limits):
    """All limits of a budget on the architectures of a program.

    Args:
        program: describes the architectures that may be kept.
        ranges: one for each limit.
        measured: measures the milliseconds of an architecture's network; None if there is no limit on them, or they
            are those of another machine.
    """

    program: Program
    ranges: Sequence[Range]
    measured: Callable[[Mapping[str, Kept]], float] | None = None

    @property
    def units(self) -> list[str]:
        return [one.limit.unit for one in self.ranges]

    @property
    def most(self) -> list[float]:
        return [one.most for one in self.ranges]

    def expected(self, decisions: Mapping[str, Decision], threshold: float | None) -> Expected:
        return ExpectedCosts(decisions, [one.cost for one in self.ranges], threshold=threshold)

    @property
    def milliseconds(self) -> Range | None:
        """The limit in milliseconds, if there is one."""
        return next((one for one in self.ranges if one.limit.unit == "milliseconds"), None)

    def tightened(self, factor: float) -> Bounds:
        """The same with a limit in milliseconds that is lower by a factor.

        Raises:
            UserError: no network is within it.
        """
        ranges = [
            replace(one, limit=Limit("milliseconds", one.most * factor, False))
            if one.limit.unit == "milliseconds"
            else one
            for one in self.ranges
        ]
        for one in ranges:
            one.check()
        return replace(self, ranges=ranges)

    @property
    def all(self) -> list[Bound]:
        return [one.bound for one in self.ranges]

    def costs(self, kept: Mapping[str, Kept]) -> dict[Unit, float]:
        """The cost of an architecture in each unit."""
        return {one.limit.unit: one.cost.of(kept, self.program.decisions) for one in self.ranges}

    def fits(self, kept: Mapping[str, Kept]) -> bool:
        """Whether an architecture is within all limits."""
        return all(one.cost.of(kept, self.program.decisions) <= one.most for one in self.ranges)

    def use(self, kept: Mapping[str, Kept]) -> float:
        """The largest share of a limit that an architecture uses; at most 1 if it fits."""
        return max(one.cost.of(kept, self.program.decisions) / one.most for one in self.ranges)


def decompositions(
    delivered: Delivered, budget: Budget, milliseconds: Decomposition | None = None
) -> dict[Unit, Decomposition]:
    """The costs that a budget limits.

    Args:
        delivered: the network.
        budget: what it may cost.
        milliseconds: predicted milliseconds; needed for a limit in milliseconds.
    """
    found: dict[Unit, Decomposition] = {}
    units = [limit.unit for limit in budget.parsed]
    flops = flops_of(delivered) if {"flops", "multiadds"} & set(units) else None
    for unit in units:
        match unit:
            case "flops":
                assert flops is not None
                found[unit] = flops
            case "multiadds":
                assert flops is not None
                found[unit] = flops.scaled(0.5)
            case "parameters":
                found[unit] = parameters_of(delivered)
            case "milliseconds":
                assert milliseconds is not None
                found[unit] = milliseconds
    return found


def count(unit: Unit, network: nn.Module, inputs: Any) -> float:
    """The cost of a built network, in a unit that is counted."""
    if unit == "parameters":
        return float(count_parameters(network))
    flops = float(count_flops(network, inputs))
    return flops / 2 if unit == "multiadds" else flops


def bounds_of(
    budget: Budget, costs: Mapping[Unit, Decomposition], program: Program, delivered: Delivered | None = None
) -> Bounds:
    """The limits as numbers, checked against the range of costs in the space.

    Args:
        budget: the budget.
        costs: the costs in each of its units.
        program: describes the architectures that may be kept.
        delivered: if given, the cheapest and the costliest network are built and counted.

    Raises:
        UserError: a limit is below the cheapest network, no network is within all limits, or the costs of a user's own
            model are not a sum over the kept candidates.
    """
    ranges = []
    for limit in budget.parsed:
        cost = costs[limit.unit]
        cheapest, costliest = program.cheapest(cost), program.costliest(cost)
        assert cheapest is not None and costliest is not None, "every decision has something that may be kept"
        least, largest = (cost.of(kept, program.decisions) for kept in (cheapest, costliest))
        if delivered is not None and limit.unit != "milliseconds":
            for kept, expected in ((cheapest, least), (costliest, largest)):
                _check_count(limit.unit, delivered, kept, expected)
        found = Range(limit, cost, least, largest)
        found.check()
        ranges.append(found)
    bounds = Bounds(program, ranges)
    if len(ranges) > 1 and program.best({}, bounds.all) is None:
        raise UserError(
            f"No architecture is within {' and '.join(str(limit) for limit in budget.parsed)} at once, though each of "
            "them can be met alone: raise one of them."
        )
    return bounds


def _check_count(unit: Unit, delivered: Delivered, kept: Mapping[str, Kept], expected: float) -> None:
    counted = count(unit, delivered.network(kept), delivered.inputs)
    if counted != expected:
        raise UserError(
            f"The {unit} of this model's networks are no sum over what is kept: a network has {amount(counted)} where "
            f"its parts add up to {amount(expected)}, so a budget in {unit} cannot be held. Candidates that share "
            "weights, or whose sizes depend on other choices, do that: give each its own, or in a space of your own "
            "override `undecided` and `shaping`."
        )


def amount(value: float) -> str:
    """A cost for a person: whole numbers with separators, others with three digits.

    Example:
        >>> amount(1234567.0), amount(8.25)
        ('1,234,567', '8.25')
    """
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:,.3g}"


def _number_above(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{1.001 * value:.4g}"
