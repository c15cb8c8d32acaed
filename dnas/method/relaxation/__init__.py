"""How architecture parameters become mixing weights: one file for each way."""

from dnas.method.relaxation.base import Relaxation
from dnas.method.relaxation.dirichlet import Dirichlet
from dnas.method.relaxation.gumbel import GumbelSoftmax
from dnas.method.relaxation.reinmax import ReinMax
from dnas.method.relaxation.sigmoid import Sigmoid
from dnas.method.relaxation.softmax import Softmax
from dnas.method.relaxation.uniform import UniformPath

__all__ = ["Dirichlet", "GumbelSoftmax", "ReinMax", "Relaxation", "Sigmoid", "Softmax", "UniformPath"]
