"""What models and their candidates cost: parameters and floating-point operations."""

from dnas.cost.candidates import Measure, candidate_costs
from dnas.cost.decisions import Costs
from dnas.cost.flops import Inputs, count_flops, flops_by_module
from dnas.cost.params import candidate_parameters, count_parameters

__all__ = [
    "Costs",
    "Inputs",
    "Measure",
    "candidate_costs",
    "candidate_parameters",
    "count_flops",
    "count_parameters",
    "flops_by_module",
]
