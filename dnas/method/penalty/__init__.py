"""Penalties, which shape the loss of the architecture step: one file for each."""

from dnas.method.penalty.anchor import Anchor
from dnas.method.penalty.base import Penalty
from dnas.method.penalty.beta_decay import BetaDecay
from dnas.method.penalty.dirichlet_prior import DirichletPrior
from dnas.method.penalty.entropy import Entropy
from dnas.method.penalty.expected_cost import ExpectedCost
from dnas.method.penalty.zero_one import ZeroOne

__all__ = ["Anchor", "BetaDecay", "DirichletPrior", "Entropy", "ExpectedCost", "Penalty", "ZeroOne"]
