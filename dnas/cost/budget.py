"""What a network may cost, as people write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from dnas.system.errors import UserError

Unit = Literal["flops", "multiadds", "parameters", "milliseconds"]
UNITS: tuple[Unit, ...] = get_args(Unit)

_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_LIMIT = re.compile(r"\s*([^<>=]*?)\s*<=\s*(.*?)\s*")
_NUMBER = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)\s*(%|[kmg]?)", re.IGNORECASE)
_EXAMPLE = "such as 'flops<=50%', 'parameters<=300k' or 'milliseconds<=8'"


@dataclass(frozen=True)
class Limit:
    """The largest cost in one unit.

    Args:
        unit: unit of the number.
        number: above 0; of a share up to 1.
        is_share: whether the number is a share of the costliest architecture that may be kept.
    """

    unit: Unit
    number: float
    is_share: bool

    def __str__(self) -> str:
        return f"{self.unit}<={self.number:.12g}" if not self.is_share else f"{self.unit}<={100 * self.number:.12g}%"

    @staticmethod
    def parse(text: str) -> Limit:
        """Read 'flops<=50%': a unit, '<=', and a number with 'k', 'M' or 'G', or a percentage.

        Raises:
            UserError: says what came and what was expected.

        Example:
            >>> Limit.parse("parameters <= 1.5M")
            Limit(unit='parameters', number=1500000.0, is_share=False)
        """
        found = _LIMIT.fullmatch(text)
        if found is None:
            raise UserError(f"A budget is UNIT<=NUMBER, {_EXAMPLE}; got {text!r}.")
        unit, number = found[1].lower(), found[2]
        known = _unit(unit)
        if known is None:
            raise UserError(f"The budget {text!r} has the unit {found[1]!r}; known are {', '.join(UNITS)}.")
        parts = _NUMBER.fullmatch(number)
        value = float(parts[1]) if parts else 0.0
        if parts is None or not 0 < value < math.inf:
            raise UserError(
                f"The budget {text!r} needs a number above 0 after '<=', with k, M or G for thousands, millions or "
                f"billions, or a percentage, {_EXAMPLE}; got {number!r}."
            )
        if parts[2] != "%":
            return Limit(known, value * _FACTORS[parts[2].lower()], False)
        if value > 100:
            raise UserError(
                f"The budget {text!r} is above 100 %, which is what the costliest architecture costs that may be kept: "
                "give 100 % or less, or leave it out."
            )
        return Limit(known, value / 100, True)


def _unit(name: str) -> Unit | None:
    for unit in UNITS:
        if unit == name:
            return unit
    return None


@dataclass(frozen=True)
class Budget:
    """What the delivered network may cost, in one unit or in several at once.

    It concerns the network that retraining builds, stem and classifier included, for one input in evaluation mode.

    Args:
        limits: such as ('flops<=50%', 'parameters<=300k'). 'flops' counts a multiply-add as 2, 'multiadds' as 1. A
            percentage is of the costliest architecture that may be kept.
        priced: whether the expected cost is held at the limits during the search too, by a price in the loss of the
            alphas. If not, the loss alone decides what the alphas prefer, and the limits what is kept of it at the end.

    Raises:
        UserError: no limit, a unit twice, or what is no limit.

    Example:
        >>> [str(limit) for limit in Budget(("flops<=50%", "parameters<=300k")).parsed]
        ['flops<=50%', 'parameters<=300000']
    """

    limits: tuple[str, ...]
    priced: bool = True

    def __post_init__(self) -> None:
        limits = self.parsed
        if not limits:
            raise UserError(f"A budget needs one limit or more, {_EXAMPLE}; got none.")
        units = [limit.unit for limit in limits]
        for unit in units:
            if units.count(unit) > 1:
                raise UserError(f"A budget has one limit in {unit}; got {', '.join(self.limits)}.")

    @property
    def parsed(self) -> tuple[Limit, ...]:
        """The limits, read."""
        return tuple(Limit.parse(text) for text in self.limits)
