"""How architecture parameters become mixing weights: one file for each way."""

from dnas.relaxation.base import Relaxation
from dnas.relaxation.dirichlet import Dirichlet
from dnas.relaxation.gumbel import GumbelSoftmax
from dnas.relaxation.reinmax import ReinMax
from dnas.relaxation.sigmoid import Sigmoid
from dnas.relaxation.softmax import Softmax
from dnas.relaxation.uniform import UniformPath

__all__ = ["Dirichlet", "GumbelSoftmax", "ReinMax", "Relaxation", "Sigmoid", "Softmax", "UniformPath"]
