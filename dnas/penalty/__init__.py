"""What shapes the loss of the architecture step: one file for each penalty."""

from dnas.penalty.anchor import Anchor
from dnas.penalty.base import Penalty
from dnas.penalty.beta_decay import BetaDecay
from dnas.penalty.dirichlet_prior import DirichletPrior
from dnas.penalty.entropy import Entropy
from dnas.penalty.expected_cost import ExpectedCost
from dnas.penalty.zero_one import ZeroOne

__all__ = ["Anchor", "BetaDecay", "DirichletPrior", "Entropy", "ExpectedCost", "Penalty", "ZeroOne"]
