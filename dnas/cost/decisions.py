"""Which modules of a model have candidates with a cost, and how the costs of a shared decision add up."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from dnas.core.cell import Cell
from dnas.core.choice import Choice, InputChoice
from dnas.core.searchable import Searchable
from dnas.system.errors import UserError

# Nested lists of shape (K,) for a choice or (E, K) for a cell.
Costs = list[float] | list[list[float]]


def costed_modules(model: nn.Module) -> list[Choice | Cell]:
    """All choices and cells of a model; choices of inputs are connections, which cost nothing.

    Raises:
        UserError: there is no choice, one inside another one's candidate, or one of an unknown kind.
    """
    searchable = [module for module in model.modules() if isinstance(module, Searchable)]
    if not searchable:
        raise UserError(f"{type(model).__name__} holds no choice, so no candidate has a cost.")
    for module in searchable:
        _check(module)
    return [module for module in searchable if isinstance(module, Choice | Cell)]


def _check(module: Searchable) -> None:
    name = module.decisions()[0].name
    if not isinstance(module, Choice | Cell | InputChoice):
        raise UserError(
            f"The candidates of {name!r} cannot be measured: {type(module).__name__} is neither a Choice, "
            "a Cell nor an InputChoice."
        )
    inner = [other.decisions()[0].name for other in module.modules() if isinstance(other, Searchable)][1:]
    if inner:
        # The cost of such a candidate depends on its own choices, so one number cannot describe it.
        raise UserError(
            f"The candidates of {name!r} hold choices of their own ({', '.join(sorted(set(inner)))}), so they have no "
            "cost of their own: leave budgets and penalties on costs out, or make one choice of both."
        )


def add_costs(total: dict[str, Costs], name: str, costs: Costs) -> None:
    """Add `costs` to those that `total` has for decision `name`."""
    total[name] = _sum(total[name], costs) if name in total else costs


def _sum(a: Iterable, b: Iterable) -> list:
    return [_sum(x, y) if isinstance(x, list) else x + y for x, y in zip(a, b, strict=True)]
