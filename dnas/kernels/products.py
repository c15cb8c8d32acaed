"""ReLU and a 1x1 convolution to any number of channels, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dnas.kernels.compiled import vector_bytes
from dnas.kernels.images import Array, address, in_parts, lanes, summed

_MOST = 32  # channels of y


@dataclass(frozen=True)
class Product:
    """y = max(x, 0) matrix.

    Args:
        x: images, flat.
        sizes: number of images, pixels of an image, channels of x, channels of y.
        matrix: (channels of x, channels of y).
    """

    x: Array
    sizes: tuple[int, int, int, int]
    matrix: Array

    @staticmethod
    def takes(inner: int, outer: int, itemsize: int) -> bool:
        """Whether kernels from and to so many channels take less time than PyTorch's operations.

        Where a vector does not fill its register, and from 48 channels on, where products take most of the time, they
        did not (docs/speed.md).
        """
        full = vector_bytes() // itemsize
        return outer <= _MOST and outer % full == 0 and inner % full == 0

    def forward(self) -> tuple[Array, Array]:
        """y, flat, and its sums, (1, 2, channels)."""
        from dnas.kernels.products_numba import product_forward

        batch, pixels, inner, outer = self.sizes
        y = torch.empty(batch * pixels * outer, dtype=torch.from_numpy(self.x).dtype).numpy()
        args = (address(self.x), self.matrix.reshape(-1), address(y), pixels, (inner, outer))
        of_vector = lanes(outer, y.itemsize)
        total = summed(in_parts(lambda begin, end: product_forward(begin, end, *args, of_vector), batch))
        return y, total.reshape(1, 2, outer)

    def backward(
        self, y: Array, g: Array, factors: tuple[Array, Array, Array], wanted: tuple[bool, bool]
    ) -> tuple[Array, Array]:
        """The gradients of x, flat, and of the matrix, where that of y is a g + b y + c.

        Args:
            factors: a, b and c, each (1, channels).
            wanted: whether these two gradients are wanted; what is not has no meaning.
        """
        from dnas.kernels.products_numba import product_backward

        batch, pixels, inner, outer = self.sizes
        d_x = torch.empty(self.x.size if wanted[0] else 0, dtype=torch.from_numpy(self.x).dtype).numpy()
        turned = np.ascontiguousarray(self.matrix.T).reshape(-1)
        images = (address(self.x), address(y), address(g), address(d_x))
        norm = tuple(factor.astype(y.dtype).reshape(-1) for factor in factors)

        def work(begin: int, end: int) -> Array:
            own = np.zeros_like(turned)
            args = (images, norm, turned, own, wanted, pixels, (inner, outer), lanes(outer, y.itemsize))
            product_backward(begin, end, *args)
            return own

        return d_x, summed(in_parts(work, batch)).reshape(self.matrix.shape)
