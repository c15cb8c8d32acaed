"""Batch norm with a weight and a bias for each channel, as found networks have it, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnas.kernels.chains import Norm
from dnas.kernels.images import Array


@dataclass(frozen=True)
class AffineNorm:
    """weight * BN(y) + bias, both (channels,); `norm` is that of a single y."""

    norm: Norm
    weight: Array
    bias: Array

    @property
    def scale_and_shift(self) -> tuple[Array, Array]:
        """a and b of a y + b, each (channels,)."""
        (scale,), (shift,) = self.norm.affine(self.weight)
        return scale, shift + self.bias

    def gradient(self, g: Array, g_y: Array) -> tuple[tuple[Array, Array, Array], Array, Array]:
        """a, b, c of d_y = a g + b y + c, each (channels,), and the gradients of weight and bias.

        Args:
            g, g_y: sums of g and of g y over images and pixels, (channels,).
        """
        ((a,), (b,), (c,)), _ = self.norm.gradient(g, g_y, self.weight)
        (along,) = (g_y - self.norm.mean * g) * self.norm.inverse
        return (a, b, c), along, g

    def unbiased_variance(self, eps: float) -> Array:
        """The variance of y over the population of which the batch is a sample, (channels,)."""
        (variance,) = np.maximum(self.norm.inverse**-2.0 - eps, 0)
        return variance * (self.norm.count / (self.norm.count - 1))
