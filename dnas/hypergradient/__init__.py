"""Gradients of a validation loss with respect to the outer variables of any bilevel problem; needs torch alone."""

from dnas.hypergradient.base import (
    BilevelProblem,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    State,
    Tensors,
)
from dnas.hypergradient.first_order import FirstOrder
from dnas.hypergradient.implicit import ConjugateGradient, Neumann
from dnas.hypergradient.mixed import ExactProduct, FiniteDifference, MixedProduct
from dnas.hypergradient.one_step import OneStep
from dnas.hypergradient.unrolled import Unrolled

__all__ = [
    "BilevelProblem",
    "ConjugateGradient",
    "ExactProduct",
    "FiniteDifference",
    "FirstOrder",
    "Hypergradient",
    "HypergradientResult",
    "InnerStep",
    "MixedProduct",
    "Neumann",
    "OneStep",
    "State",
    "Tensors",
    "Unrolled",
]
