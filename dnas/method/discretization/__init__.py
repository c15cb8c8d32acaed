"""How a search ends in an architecture: one file for each way."""

from dnas.method.discretization.argmax import Argmax
from dnas.method.discretization.base import Discretization
from dnas.method.discretization.evolution import Evolution
from dnas.method.discretization.limited_skips import LimitedSkips
from dnas.method.discretization.perturbation import Perturbation
from dnas.method.discretization.random_sampling import RandomSampling
from dnas.method.discretization.threshold import Threshold

__all__ = [
    "Argmax",
    "Discretization",
    "Evolution",
    "LimitedSkips",
    "Perturbation",
    "RandomSampling",
    "Threshold",
]
