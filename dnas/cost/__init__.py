"""The costs of models and their candidates, and the budget of a delivered network.

What an architecture reaches is in `table`; which architecture is chosen is for `searching` and `method`.
"""

from dnas.cost.budget import Budget, Limit
from dnas.cost.candidates import Measure, candidate_costs
from dnas.cost.chances import Chances, ExpectedCosts
from dnas.cost.counts import flops_of, parameters_of
from dnas.cost.decisions import Costs
from dnas.cost.decomposition import Decomposition, decompose
from dnas.cost.delivered import Delivered, DerivedNetwork
from dnas.cost.flops import Inputs, count_flops, flops_by_module
from dnas.cost.params import candidate_parameters, count_parameters
from dnas.cost.program import Bound, Cap, Program

__all__ = [
    "Bound",
    "Budget",
    "Cap",
    "Chances",
    "Costs",
    "Decomposition",
    "Delivered",
    "DerivedNetwork",
    "ExpectedCosts",
    "Inputs",
    "Limit",
    "Measure",
    "Program",
    "candidate_costs",
    "candidate_parameters",
    "count_flops",
    "count_parameters",
    "decompose",
    "flops_by_module",
    "flops_of",
    "parameters_of",
]
