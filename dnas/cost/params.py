"""The number of parameters of a model and of its candidates."""

from __future__ import annotations

from torch import nn

from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.cost.decisions import Costs, add_costs, costed_modules


def count_parameters(model: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of parameter entries; a tensor that is used in several places counts once.

    Args:
        model: alphas are not part of a supernet's model, so they never count.
        trainable_only: whether to leave out parameters with `requires_grad=False`.

    Example:
        >>> count_parameters(nn.Linear(4, 2))
        10
    """
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad or not trainable_only)


def candidate_parameters(model: nn.Module) -> dict[str, Costs]:
    """The parameters of each candidate, in the shape of its decision: the costs of an `ExpectedCost`.

    The parameters of all choices that share a decision are added up. Choices of inputs and weights of edges cost
    nothing and are left out.

    Raises:
        UserError: a choice is inside another one's candidate, or is of an unknown kind.

    Example:
        >>> candidates = {"1x1": nn.Conv2d(8, 8, 1, bias=False), "3x3": nn.Conv2d(8, 8, 3, bias=False)}
        >>> candidate_parameters(nn.Sequential(Choice("kernel", candidates)))
        {'kernel': [64.0, 576.0]}
    """
    total: dict[str, Costs] = {}
    for module in costed_modules(model):
        add_costs(total, module.decision.name, _of_candidates(module))
    return total


def _of_candidates(module: Choice | Cell) -> Costs:
    if isinstance(module, Choice):
        return [float(count_parameters(candidate)) for candidate in module.candidates]
    return [[float(count_parameters(candidate)) for candidate in edge] for edge in module.operations]  # pyright: ignore[reportGeneralTypeIssues]
