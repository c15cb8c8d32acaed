"""How the mixtures of the weight step are disturbed: one file for each way."""

from dnas.method.smoothing.adversarial import AdversarialSmoothing
from dnas.method.smoothing.base import Smoothing
from dnas.method.smoothing.random import RandomSmoothing

__all__ = ["AdversarialSmoothing", "RandomSmoothing", "Smoothing"]
