"""What each candidate of a model's decisions costs, measured where it stands in the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.cost.decisions import Costs, add_costs, costed_modules
from dnas.cost.flops import Inputs, count_flops, run_without_trace

# The cost of a module on these inputs, in any unit.
Measure = Callable[[nn.Module, tuple[Any, ...]], float]


def candidate_costs(model: nn.Module, example_inputs: Inputs, measure: Measure = count_flops) -> dict[str, Costs]:
    """The cost of each candidate, in the shape of its decision: the costs of an `ExpectedCost`.

    The model runs once over `example_inputs`, and every candidate is measured by itself on its inputs there. The costs
    of a decision that several choices share, or of a choice that is called several times, are added up. Work that
    candidates of one state share (`SharedPrefix`) counts for each of them. Choices of inputs and weights of edges cost
    nothing and are left out.

    Args:
        model: its weights, buffers and the state of random generators stay as they were.
        example_inputs: as in `count_flops`; costs are for a batch of this size.
        measure: `measure(candidate, inputs)` returns a number, such as FLOPs or milliseconds.

    Raises:
        UserError: there is no choice, one inside another one's candidate, or one of an unknown kind.

    Example:
        >>> import torch
        >>> candidates = {"1x1": nn.Conv2d(8, 8, 1), "skip": nn.Identity()}
        >>> candidate_costs(nn.Sequential(Choice("op", candidates)), torch.zeros(1, 8, 4, 4))
        {'op': [2048.0, 0.0]}
    """
    total: dict[str, Costs] = {}

    def measured_before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, Choice | Cell)
        costs = _of_choice(module, inputs, measure) if isinstance(module, Choice) else _of_cell(module, inputs, measure)
        add_costs(total, module.decision.name, costs)

    handles: list[RemovableHandle] = [
        module.register_forward_pre_hook(measured_before) for module in costed_modules(model)
    ]
    try:
        run_without_trace(model, example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total


def _of_choice(choice: Choice, inputs: tuple[Any, ...], measure: Measure) -> Costs:
    return [_cost(candidate, inputs, measure) for candidate in choice.candidates]


def _of_cell(cell: Cell, inputs: tuple[Tensor, ...], measure: Measure) -> Costs:
    """One row for each edge; zeros of its shape represent a node's state."""
    states = dict(enumerate(inputs))
    costs: list[list[float]] = []
    for (source, target), candidates in zip(cell.decision.edges, cell.operations, strict=True):
        inputs_here = (cell.operand(states[source]),)
        costs.append([_cost(candidate, inputs_here, measure) for candidate in candidates])  # pyright: ignore[reportGeneralTypeIssues]
        if target not in states:
            states[target] = cell.zero_node(target, states)
    return costs


def _cost(candidate: nn.Module, inputs: tuple[Any, ...], measure: Measure) -> float:
    # 'none' is never computed, although making its zeros would take time in a measurement.
    return 0.0 if isinstance(candidate, Zero) else float(measure(candidate, inputs))
