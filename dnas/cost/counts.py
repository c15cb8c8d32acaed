"""FLOPs and parameters of delivered networks, counted exactly as a sum over the kept candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dnas.cost.candidates import Measure, candidate_costs
from dnas.cost.decisions import Costs
from dnas.cost.decomposition import Decomposition, decompose
from dnas.cost.delivered import Delivered
from dnas.cost.flops import count_flops
from dnas.cost.params import candidate_parameters, count_parameters


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
    """All parameters of the built network."""
    return decompose(delivered, candidate_parameters, lambda network: float(count_parameters(network)))


def remembered(measure: Measure) -> Measure:
    """A measure that is called only once for modules with equal descriptions and equal inputs."""
    found: dict[tuple[Any, ...], float] = {}

    def measured(module: nn.Module, inputs: tuple[Any, ...]) -> float:
        key = (repr(module), *((tuple(x.shape), x.stride()) if isinstance(x, Tensor) else x for x in inputs))
        if key not in found:
            found[key] = measure(module, inputs)
        return found[key]

    return measured
