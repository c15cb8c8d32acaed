"""What a smaller network may cost, as people write it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from dnas.shrinking.program import Bound, Program
from dnas.shrinking.searchable import Narrowable
from dnas.system.errors import UserError

_LIMIT = re.compile(r"\s*(flops|parameters)\s*<=\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(%|[kmg]?)\s*", re.IGNORECASE)
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}


class Limit(NamedTuple):
    """The largest number of FLOPs or parameters; a share is one of the original's."""

    unit: Literal["flops", "parameters"]
    number: float
    is_share: bool


def parse(text: str) -> Limit:
    """Reads 'flops<=50%' or 'parameters<=1.5M'.

    Raises:
        UserError: says what came and what was expected.

    Example:
        >>> parse("parameters <= 1.5M")
        Limit(unit='parameters', number=1500000.0, is_share=False)
    """
    found = _LIMIT.fullmatch(text)
    if found is None or float(found[2]) <= 0 or (found[3] == "%" and float(found[2]) > 100):
        raise UserError(
            "A budget is flops<=NUMBER or parameters<=NUMBER, with k, M or G or up to 100 %, such as 'flops<=50%'; got "
            f"{text!r}."
        )
    unit = "flops" if found[1].lower() == "flops" else "parameters"
    if found[3] == "%":
        return Limit(unit, float(found[2]) / 100, True)
    return Limit(unit, float(found[2]) * _FACTORS[found[3].lower()], False)


def bounds_of(limits: Sequence[str], searchable: Narrowable, program: Program) -> list[Bound]:
    """The limits in numbers, each of which some network keeps.

    Raises:
        UserError: no limit, or one that the smallest network is above.
    """
    if not limits:
        raise UserError("A budget needs one limit or more, such as 'flops<=50%'; got none.")
    bounds = []
    for text in limits:
        limit = parse(text)
        cost = searchable.flops if limit.unit == "flops" else searchable.parameters
        whole = cost.of(searchable.largest)
        bound = Bound(cost, limit.number * whole if limit.is_share else limit.number)
        smallest = program.cheapest(cost)
        assert smallest is not None
        least = cost.of(smallest)
        if bound.most < least:
            raise UserError(
                f"The budget {text} is out of reach: {limit.unit} of this model can be from {least:,.0f} "
                f"({100 * least / whole:.1f} %) to {whole:,.0f}."
            )
        bounds.append(bound)
    return bounds
