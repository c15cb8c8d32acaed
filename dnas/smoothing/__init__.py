"""How the mixtures of the weight step are disturbed: one file for each way."""

from dnas.smoothing.adversarial import AdversarialSmoothing
from dnas.smoothing.base import Smoothing
from dnas.smoothing.random import RandomSmoothing

__all__ = ["AdversarialSmoothing", "RandomSmoothing", "Smoothing"]
