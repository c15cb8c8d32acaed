"""The bounds of a budget on what `dnas.derive` makes of a user's own model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dnas.core.batch import Batch, map_tensors
from dnas.cost.bounds import Bounds, bounds_of, decompositions
from dnas.cost.budget import Budget
from dnas.cost.decomposition import Decomposition
from dnas.cost.delivered import Delivered, DerivedNetwork
from dnas.cost.layout import allowed
from dnas.method.discretization import Discretization
from dnas.method.discretization.within import program_of, rules_of
from dnas.system.errors import UserError


def bounds_on(
    delivered: Delivered, budget: Budget, discretization: Discretization, milliseconds: Decomposition | None = None
) -> Bounds:
    """The bounds of a budget on a delivered network.

    Args:
        delivered: the network.
        budget: what it may cost.
        discretization: decides what is kept.
        milliseconds: predicted milliseconds, for a limit in them (`dnas.cost.milliseconds`).

    Raises:
        UserError: the budget is below the smallest network, a limit in milliseconds comes without predictions, or the
            costs are no sum over what is kept.
    """
    if milliseconds is None and any(limit.unit == "milliseconds" for limit in budget.parsed):
        raise UserError(
            "A limit in milliseconds needs a table of measured candidates: measure one with "
            "dnas.cost.milliseconds.measure_milliseconds, and give bounds_on(..., milliseconds=table.cost) as bounds."
        )
    program = program_of(delivered.decisions, allowed(delivered.decisions), rules_of(discretization))
    return bounds_of(budget, decompositions(delivered, budget, milliseconds), program, delivered)


def derived(model: nn.Module, batch: Batch) -> DerivedNetwork:
    """What `dnas.derive` makes of a model, and the first input of a batch."""
    inputs: Any = map_tensors(lambda tensor: tensor[:1], batch.inputs)
    parameter = next(model.parameters(), None)
    if parameter is not None:
        inputs = map_tensors(lambda tensor: tensor.to(parameter.device), inputs)
    return DerivedNetwork(model, inputs if isinstance(inputs, Tensor | dict) else tuple(inputs))
