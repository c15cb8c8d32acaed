"""Gradients of a validation loss with respect to the outer variables of any bilevel problem; needs torch alone."""

from dnas.method.hypergradient.base import (
    BilevelProblem,
    Hypergradient,
    HypergradientResult,
    InnerStep,
    State,
    Tensors,
)
from dnas.method.hypergradient.first_order import FirstOrder
from dnas.method.hypergradient.implicit import ConjugateGradient, Neumann
from dnas.method.hypergradient.mixed import ExactProduct, FiniteDifference, MixedProduct
from dnas.method.hypergradient.one_step import OneStep
from dnas.method.hypergradient.unrolled import Unrolled

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
