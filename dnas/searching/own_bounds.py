"""The bounds of a budget on what `dnas.derive` makes of a user's own model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dnas.core.batch import Batch, map_tensors
from dnas.cost.bounds import Bounds, bounds_of, decompositions
from dnas.cost.budget import Budget
from dnas.cost.delivered import Delivered, DerivedNetwork
from dnas.cost.layout import allowed
from dnas.method.discretization import Discretization
from dnas.method.discretization.within import program_of, rules_of
from dnas.system.errors import UserError


def bounds_on(delivered: Delivered, budget: Budget, discretization: Discretization) -> Bounds:
    """The bounds of a budget on a delivered network.

    Raises:
        UserError: the budget is below the smallest network; a limit in milliseconds, for which there are `dnas search`
            and `dnas measure`; or costs that are no sum over what is kept.
    """
    if any(limit.unit == "milliseconds" for limit in budget.parsed):
        raise UserError(
            "A limit in milliseconds needs a table of measured candidates: give bounds made with dnas.cost.bounds_of."
        )
    program = program_of(delivered.decisions, allowed(delivered.decisions), rules_of(discretization))
    return bounds_of(budget, decompositions(delivered, budget), program, delivered)


def derived(model: nn.Module, batch: Batch) -> DerivedNetwork:
    """What `dnas.derive` makes of a model, and the first input of a batch."""
    inputs: Any = map_tensors(lambda tensor: tensor[:1], batch.inputs)
    parameter = next(model.parameters(), None)
    if parameter is not None:
        inputs = map_tensors(lambda tensor: tensor.to(parameter.device), inputs)
    return DerivedNetwork(model, inputs if isinstance(inputs, Tensor | dict) else tuple(inputs))
