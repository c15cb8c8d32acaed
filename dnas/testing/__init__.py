"""Contracts that every part must fulfil, for testing your own parts, and bilevel problems with known hypergradients.

No other room imports these; tests of dnas itself are in `tests/`.
"""

from dnas.testing.batches import check_batches
from dnas.testing.discretization import check_discretization
from dnas.testing.hypergradient import QuadraticProblem, check_hypergradient
from dnas.testing.observer import check_observer
from dnas.testing.penalty import check_penalty
from dnas.testing.relaxation import check_relaxation
from dnas.testing.schedule import check_schedule
from dnas.testing.smoothing import check_smoothing
from dnas.testing.space import check_space

__all__ = [
    "QuadraticProblem",
    "check_batches",
    "check_discretization",
    "check_hypergradient",
    "check_observer",
    "check_penalty",
    "check_relaxation",
    "check_schedule",
    "check_smoothing",
    "check_space",
]
