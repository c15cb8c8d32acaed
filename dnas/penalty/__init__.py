"""What shapes the loss of the architecture step: one file for each penalty."""

from dnas.penalty.base import Penalty
from dnas.penalty.beta_decay import BetaDecay
from dnas.penalty.expected_cost import ExpectedCost

__all__ = ["BetaDecay", "ExpectedCost", "Penalty"]
