"""How a search ends in an architecture: one file for each way."""

from dnas.discretization.argmax import Argmax
from dnas.discretization.base import Discretization
from dnas.discretization.evolution import Evolution
from dnas.discretization.limited_skips import LimitedSkips
from dnas.discretization.perturbation import Perturbation
from dnas.discretization.random_sampling import RandomSampling
from dnas.discretization.threshold import Threshold

__all__ = [
    "Argmax",
    "Discretization",
    "Evolution",
    "LimitedSkips",
    "Perturbation",
    "RandomSampling",
    "Threshold",
]
