"""FLOPs and parameters of delivered networks, counted exactly as a sum over the kept candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from dnas.cost.candidates import Measure, candidate_costs
from dnas.cost.decisions import Costs, costed_modules
from dnas.cost.decomposition import Decomposition, Table, decompose
from dnas.cost.delivered import Delivered
from dnas.cost.flops import count_flops
from dnas.cost.layout import first
from dnas.cost.params import count_parameters, holders_of, parameters_held, shared_weights


def flops_of(delivered: Delivered) -> Decomposition:
    """FLOPs of one input in evaluation mode, as `torch.utils.flop_counter` counts those of the built network.

    Example:
        >>> import torch
        >>> from dnas.core.choice import Choice
        >>> from dnas.cost.delivered import DerivedNetwork
        >>> model = nn.Sequential(Choice("op", {"linear": nn.Linear(4, 4), "skip": nn.Identity()}), nn.Linear(4, 2))
        >>> flops_of(DerivedNetwork(model, torch.zeros(1, 4)))
        Decomposition(constant=16.0, single={'op': ((32.0, 0.0),)}, pairs={})
    """
    measure = remembered(count_flops) if delivered.descriptions_tell else count_flops

    def candidates(model: nn.Module) -> Mapping[str, Costs]:
        return candidate_costs(model, delivered.inputs, measure)

    return decompose(delivered, candidates, lambda network: float(count_flops(network, delivered.inputs)))


def parameters_of(delivered: Delivered) -> Decomposition:
    """All parameters of the built network; a tensor that two kept candidates share counts once.

    Raises:
        UserError: candidates of more than two decisions share a tensor, or edges of a cell.
    """
    found = decompose(delivered, parameters_held, lambda network: float(count_parameters(network)))
    base = first(delivered.decisions)
    model = delivered.undecided({name: base[name] for name in delivered.shaping})
    shared = _counted_twice(model)
    if not shared:
        return found
    twice = Decomposition(0.0, {}, shared).of(base, delivered.decisions)
    return replace(found, constant=found.constant - twice, pairs={**found.pairs, **shared})


def _counted_twice(model: nn.Module) -> dict[tuple[str, str], Table]:
    """For each pair of choices, minus the parameters that two of their candidates share."""
    sizes = {module.decision.name: len(module.decision.candidates) for module in costed_modules(model)}
    found: dict[tuple[str, str], list[list[float]]] = {}
    for weight, holders in holders_of(model).items():
        names = list(dict.fromkeys(item.decision for item in holders))
        if len({item[:2] for item in holders}) == 1:
            continue
        if len(names) != 2 or any(item.row for item in holders):
            other = next(item for item in holders if item[:2] != holders[0][:2])
            raise shared_weights(model, holders[0], other, "A budget counts weights that two choices share, no more.")
        table = found.setdefault((names[0], names[1]), [[0.0] * sizes[names[1]] for _ in range(sizes[names[0]])])
        for one in (item for item in holders if item.decision == names[0]):
            for other in (item for item in holders if item.decision == names[1]):
                table[one.candidate][other.candidate] -= weight.numel()
    return {names: tuple(map(tuple, table)) for names, table in found.items()}


def remembered(measure: Measure) -> Measure:
    """A measure that is called only once for modules with equal descriptions and equal inputs."""
    found: dict[tuple[Any, ...], float] = {}

    def measured(module: nn.Module, inputs: tuple[Any, ...]) -> float:
        key = (repr(module), *((tuple(x.shape), x.stride()) if isinstance(x, Tensor) else x for x in inputs))
        if key not in found:
            found[key] = measure(module, inputs)
        return found[key]

    return measured
