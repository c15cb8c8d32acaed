"""How architecture parameters become mixing weights: one file for each way."""

from dnas.relaxation.base import Relaxation
from dnas.relaxation.gumbel import GumbelSoftmax
from dnas.relaxation.sigmoid import Sigmoid
from dnas.relaxation.softmax import Softmax

__all__ = ["GumbelSoftmax", "Relaxation", "Sigmoid", "Softmax"]
