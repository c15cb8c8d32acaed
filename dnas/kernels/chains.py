"""One round of separable operations that read the same images on the CPU, and the batch norm that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.cost.kernel_traffic import TRAFFIC
from dnas.kernels.devices import Chains, Outer, Sizes
from dnas.kernels.images import Array, address, in_parts, lanes, summed


@dataclass(frozen=True)
class Norm:
    """Batch norms of some y over `count` pixels: mean and 1 / sigma (terms, channels), in float64, of any device."""

    mean: Any
    inverse: Any
    count: int

    @staticmethod
    def of(total: Any, count: int, eps: Any) -> Norm:
        """From the sums of y and y y, (terms, 2, channels)."""
        mean = total[:, 0] / count
        # Rounding may leave the variance of a constant channel below 0.
        variance = (total[:, 1] / count - mean * mean).clip(0)
        return Norm(mean, (variance + eps) ** -0.5, count)

    def affine(self, weight: Any) -> tuple[Any, Any]:
        """a and b of weight * BN(y) = a y + b, for weights (terms, 1)."""
        scale = weight * self.inverse
        return scale, -scale * self.mean

    def gradient(self, g: Any, g_y: Any, weight: Any) -> tuple[tuple[Any, Any, Any], Any]:
        """a, b, c of d_y = a g + b y + c, and the gradients of the weights, from the sums of g and of g y."""
        along = (g_y - self.mean * g) * self.inverse
        of_g = weight * self.inverse
        of_y = -of_g * self.inverse * along / self.count
        return (of_g, of_y, -of_g * g / self.count - of_y * self.mean), along.sum(-1)


@dataclass(frozen=True)
class CpuChains(Chains):
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
    sizes: Sizes
    stride: int
    kernels: tuple[Array, Array]
    depthwise: tuple[Array, ...]
    pointwise: Array

    def forward(self) -> tuple[list[Array], Array]:
        from dnas.kernels.chains_numba import chains_forward

        channels = self.sizes[3]
        y = torch.empty(len(self.pointwise), int(np.prod(self.out_sizes)), dtype=torch.from_numpy(self.x).dtype).numpy()
        weights = (joined(self.depthwise), joined(self.pointwise.transpose(0, 2, 1)))
        of_y, of_vector = y.reshape(-1), lanes(channels, self.x.itemsize)

        def work(begin: int, end: int) -> Array:
            return chains_forward(
                begin, end, self.x, self.norm, self.kernels, self.stride, weights, of_y, self.sizes, of_vector
            )

        TRAFFIC.add([self.x, y])
        return list(y), summed(in_parts(work, self.sizes[0])).reshape(-1, 2, channels)

    def backward(
        self, outer: Outer, added: tuple[Array, Any] | None, wanted: tuple[bool, bool]
    ) -> tuple[Array, Array, list[Tensor]]:
        from dnas.kernels.chains_numba import chains_backward

        kernels = joined(self.depthwise)
        turned = joined([kernel[::-1] for kernel in self.depthwise])
        weights = (kernels, turned, joined(self.pointwise))
        gradient = torch.empty(self.x.size if wanted[0] else 0, dtype=torch.from_numpy(self.x).dtype).numpy()
        factors = (joined(of_chains).astype(self.x.dtype) for of_chains in zip(*outer.factors, strict=True))
        addresses = (np.array([address(g) for g in outer.g]), np.array([address(y) for y in outer.y]), *factors)
        images, factor = added or (self.x, 0)
        more = address(images), np.array([factor], self.x.dtype)

        def work(begin: int, end: int) -> tuple[Array, Array, Array]:
            own = np.zeros_like(kernels), np.zeros_like(weights[2])
            given = (weights, addresses, more, (gradient, *own), wanted)
            args = (self.x, self.norm, self.kernels, self.stride, *given, self.sizes)
            return chains_backward(begin, end, *args, lanes(self.sizes[3], self.x.itemsize)), *own

        TRAFFIC.add([self.x, gradient, *outer.g, *outer.y, *([] if added is None else [images])])
        total, of_kernels, of_matrices = (summed(parts) for parts in zip(*in_parts(work, self.sizes[0]), strict=True))
        ends = np.cumsum([kernel.size for kernel in self.depthwise])[:-1]
        own = zip(self.depthwise, np.split(of_kernels, ends), of_matrices.reshape(self.pointwise.shape), strict=True)
        return (
            gradient,
            total.reshape(2, -1),
            [
                weight
                for kernel, of_kernel, of_matrix in own
                for weight in (_depthwise_weight(of_kernel.reshape(kernel.shape)), _pointwise_weight(of_matrix.T))
            ],
        )


def joined(arrays: Sequence[Array] | Array) -> Array:
    """All arrays one after another as one long one."""
    return np.concatenate([np.ravel(array) for array in arrays])


def _depthwise_weight(taps: Array) -> Tensor:
    """A kernel (taps, channels) in the shape of the convolution's weight."""
    size = round(len(taps) ** 0.5)
    return torch.from_numpy(taps).t().reshape(-1, 1, size, size)


def _pointwise_weight(matrix: Array) -> Tensor:
    return torch.from_numpy(matrix)[:, :, None, None]
