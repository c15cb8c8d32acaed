"""The number of parameters of a model and of its candidates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.cost.decisions import Costs, costed_modules
from dnas.cost.layout import Item
from dnas.system.errors import UserError


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

    What all choices that share a decision keep is added up, a tensor in several of them once. A tensor that is also
    outside of all candidates costs nothing, since every network has it. Choices of inputs and weights of edges cost
    nothing and are left out.

    Raises:
        UserError: a choice is inside another one's candidate, or is of an unknown kind, or candidates of two decisions
            share a tensor, so that neither has a cost of its own.

    Example:
        >>> candidates = {"1x1": nn.Conv2d(8, 8, 1, bias=False), "3x3": nn.Conv2d(8, 8, 3, bias=False)}
        >>> candidate_parameters(nn.Sequential(Choice("kernel", candidates)))
        {'kernel': [64.0, 576.0]}
    """
    for holders in holders_of(model).values():
        for other in holders[1:]:
            if other[:2] != holders[0][:2]:
                raise shared_weights(model, holders[0], other, "Give each a module of its own, or limit FLOPs instead.")
    return parameters_held(model)


def parameters_held(model: nn.Module) -> dict[str, Costs]:
    """As `candidate_parameters`, but a tensor that candidates of two decisions share counts for both."""
    total: dict[str, Costs] = {}
    for module in costed_modules(model):
        decision = module.decision
        rows = [[0.0] * len(decision.names(row)) for row in range(decision.num_rows)]
        total.setdefault(decision.name, rows[0] if decision.kind == "choice" else rows)
    for weight, holders in holders_of(model).items():
        for item in holders:
            costs = total[item.decision]
            row: Any = costs[item.row] if isinstance(costs[0], list) else costs
            row[item.candidate] += float(weight.numel())
    return total


def holders_of(model: nn.Module) -> dict[nn.Parameter, list[Item]]:
    """For each tensor that is in candidates alone, the candidates that hold it."""
    modules = costed_modules(model)
    fixed = set(_fixed(model))
    found: dict[nn.Parameter, dict[Item, None]] = {}
    for module in modules:
        for item, candidate in _candidates(module).items():
            for weight in candidate.parameters():
                if weight not in fixed:
                    found.setdefault(weight, {})[item] = None
    return {weight: list(items) for weight, items in found.items()}


def shared_weights(model: nn.Module, one: Item, other: Item, advice: str) -> UserError:
    """The error that names two candidates which share a tensor."""
    decisions = {module.decision.name: module.decision for module in costed_modules(model)}
    first, second = (
        f"candidate {decisions[item.decision].names(item.row)[item.candidate]!r} of {item.decision!r}"
        for item in (one, other)
    )
    return UserError(
        f"The {first} and the {second} share weights, so what one of them adds depends on the other, and it has no "
        f"number of parameters of its own. {advice}"
    )


def _candidates(module: Choice | Cell) -> dict[Item, nn.Module]:
    name = module.decision.name
    if isinstance(module, Choice):
        return {Item(name, 0, k): candidate for k, candidate in enumerate(module.candidates)}
    edges = enumerate(module.operations)
    return {Item(name, row, k): one for row, edge in edges for k, one in enumerate(edge)}  # pyright: ignore[reportArgumentType]


def _fixed(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a module outside of all candidates."""
    yield from module.parameters(recurse=False)
    choice = (
        module.candidates if isinstance(module, Choice) else module.operations if isinstance(module, Cell) else None
    )
    for child in module.children():
        if child is not choice:
            yield from _fixed(child)
