"""How a search ends in an architecture: one file for each way."""

from dnas.discretization.argmax import Argmax
from dnas.discretization.base import Discretization
from dnas.discretization.threshold import Threshold

__all__ = ["Argmax", "Discretization", "Threshold"]
