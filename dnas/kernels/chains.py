"""One round of separable operations that read the same images: ReLU, depthwise, 1x1 convolution, batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.kernels.images import Array, in_parts, summed


@dataclass(frozen=True)
class Norm:
    """Batch norm of y over `count` pixels: mean and 1 / sigma (channels,), in float64."""

    mean: Array
    inverse: Array
    count: int

    @staticmethod
    def of(total: Array, count: int, eps: float) -> Norm:
        """From the sums of y and y y, (2 channels)."""
        mean, square = total.reshape(2, -1) / count
        # Rounding may leave the variance of a constant channel below 0.
        return Norm(mean, 1 / np.sqrt(np.maximum(square - mean**2, 0) + eps), count)

    def affine(self, weight: float) -> tuple[Array, Array]:
        """a and b of weight * BN(y) = a y + b."""
        scale = weight * self.inverse
        return scale, -scale * self.mean

    def gradient(self, g: Array, g_y: Array, weight: float) -> tuple[tuple[Array, Array, Array], float]:
        """a, b, c of d_y = a g + b y + c, and the gradient of the weight, from the sums of g and of g y."""
        along = (g_y - self.mean * g) * self.inverse
        of_g = weight * self.inverse
        of_y = -of_g * self.inverse * along / self.count
        return (of_g, of_y, -of_g * g / self.count - of_y * self.mean), along.sum()


@dataclass(frozen=True)
class Chains:
    """One round of several separable operations that read the same images.

    Args:
        x: images, flat.
        norm: scale and shift that x gets before ReLU.
        sizes: number of images, height, width, channels of x.
        stride: stride of all of them.
        kernels: sizes and dilations of the depthwise kernels, each (chains,).
        depthwise: all depthwise kernels, each (taps, channels).
        pointwise: matrices (chains, channels, channels).
    """

    x: Array
    norm: tuple[Array, Array]
    sizes: tuple[int, int, int, int]
    stride: int
    kernels: tuple[Array, Array]
    depthwise: tuple[Array, ...]
    pointwise: Array

    @property
    def out_sizes(self) -> tuple[int, int, int, int]:
        batch, height, width, channels = self.sizes
        return batch, -(-height // self.stride), -(-width // self.stride), channels

    def forward(self, of_vector: Any) -> tuple[Array, Array]:
        """y (chains, pixels * channels), and its sums (chains, 2 channels)."""
        from dnas.kernels.chains_numba import chains_forward

        y = torch.empty(len(self.pointwise), int(np.prod(self.out_sizes)), dtype=torch.from_numpy(self.x).dtype).numpy()
        weights = (joined(self.depthwise), joined(self.pointwise.transpose(0, 2, 1)))
        of_y = y.reshape(-1)

        def work(begin: int, end: int) -> Array:
            return chains_forward(
                begin, end, self.x, self.norm, self.kernels, self.stride, weights, of_y, self.sizes, of_vector
            )

        return y, summed(in_parts(work, self.sizes[0]))

    def backward(
        self,
        outer: tuple[Array, ...],
        added: tuple[int, Array],
        gradient: Array,
        wanted: tuple[bool, bool],
        of_vector: Any,
    ) -> tuple[Array, list[Tensor]]:
        """Write the gradient of scale x + shift; its sums, and the gradients of the weights, two for each chain.

        Args:
            outer, added: as in `chains_backward`.
            gradient: where the gradient of the images is written.
            wanted: whether that gradient, and those of the weights, are wanted.
        """
        from dnas.kernels.chains_numba import chains_backward

        kernels = joined(self.depthwise)
        turned = joined([kernel[::-1] for kernel in self.depthwise])
        weights = (kernels, turned, joined(self.pointwise))

        def work(begin: int, end: int) -> tuple[Array, Array, Array]:
            own = np.zeros_like(kernels), np.zeros_like(weights[2])
            into = (gradient, *own)
            given = (weights, outer, added, into, wanted)
            args = (self.x, self.norm, self.kernels, self.stride, *given, self.sizes, of_vector)
            return chains_backward(begin, end, *args), *own

        total, of_kernels, of_matrices = (summed(parts) for parts in zip(*in_parts(work, self.sizes[0]), strict=True))
        ends = np.cumsum([kernel.size for kernel in self.depthwise])[:-1]
        own = zip(self.depthwise, np.split(of_kernels, ends), of_matrices.reshape(self.pointwise.shape), strict=True)
        return total, [
            weight
            for kernel, of_kernel, of_matrix in own
            for weight in (_depthwise_weight(of_kernel.reshape(kernel.shape)), _pointwise_weight(of_matrix.T))
        ]


def joined(arrays: Sequence[Array] | Array, like: Array | None = None) -> Array:
    """All arrays one after another as one long one, in the type of `like`."""
    return np.concatenate([np.ravel(array) for array in arrays]).astype(
        arrays[0].dtype if like is None else like.dtype, copy=False
    )


def _depthwise_weight(taps: Array) -> Tensor:
    """A kernel (taps, channels) in the shape of the convolution's weight."""
    size = round(len(taps) ** 0.5)
    return torch.from_numpy(taps).t().reshape(-1, 1, size, size)


def _pointwise_weight(matrix: Array) -> Tensor:
    return torch.from_numpy(matrix)[:, :, None, None]
