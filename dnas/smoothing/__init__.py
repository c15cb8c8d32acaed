"""How the mixtures of the weight step are disturbed: one file for each way."""

from dnas.smoothing.base import Smoothing

__all__ = ["Smoothing"]
