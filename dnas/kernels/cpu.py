"""The kernels of the CPU, compiled by numba."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.cost.kernel_traffic import TRAFFIC
from dnas.kernels.chains import CpuChains
from dnas.kernels.devices import Kernels, Sizes
from dnas.kernels.images import Array, address, flat, in_parts, lanes, summed


class CpuKernels(Kernels):
    need = "a multiple of 4 channels"

    def take(self, channels: int) -> bool:
        return channels % 4 == 0

    def images(self, x: Tensor) -> Array:
        return flat(x)

    def tensor(self, images: Array, sizes: Sizes) -> Tensor:
        return torch.from_numpy(images).view(sizes).permute(0, 3, 1, 2)

    def column(self, numbers: tuple[float, ...]) -> Array:
        return _column(numbers)

    def rows(self, arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)  # np.stack takes twice as long

    def mixture(self, values: Tensor, places: Sequence[tuple[int, int]]) -> Array:
        numbers = values.tolist()
        return np.array([[numbers[edge][candidate]] for edge, candidate in places])

    def spread(self, numbers: Array, places: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        result = torch.zeros(like.shape, dtype=like.dtype)
        for place, number in zip(places, numbers.tolist(), strict=True):
            result[place] = number
        return result

    def scaled(self, images: Array, factor: Array) -> Array:
        return (torch.from_numpy(images) * float(factor[0])).numpy()

    def chains(
        self,
        x: Array,
        norm: tuple[Array, Array] | None,
        sizes: Sizes,
        stride: int,
        dilations: Sequence[int],
        weights: Sequence[tuple[Tensor, Tensor]],
    ) -> CpuChains:
        scale, shift = (np.ones(sizes[3]), np.zeros(sizes[3])) if norm is None else norm
        kernel_sizes = [depthwise.shape[-1] for depthwise, _ in weights]
        return CpuChains(
            x,
            (scale.astype(x.dtype), shift.astype(x.dtype)),
            sizes,
            stride,
            (np.array(kernel_sizes), np.array(dilations)),
            tuple(depthwise.flatten(1).t().contiguous().numpy() for depthwise, _ in weights),
            np.stack([pointwise.flatten(1).numpy() for _, pointwise in weights]),
        )

    def weighted_sum(self, terms: Sequence[Array], scale: Array, shift: Array, sizes: Sizes) -> Array:
        from dnas.kernels.sums_numba import weighted_sum

        result = torch.empty(prod(sizes), dtype=torch.from_numpy(terms[0]).dtype).numpy()
        places, channels = np.array([address(term) for term in terms]), sizes[3]
        factors = (scale.astype(result.dtype).reshape(-1), shift.astype(result.dtype))

        def work(begin: int, end: int) -> None:
            weighted_sum(begin, end, places, *factors, result, channels, lanes(channels, result.itemsize))

        TRAFFIC.add([*terms, result])
        in_parts(work, result.size // channels)
        return result

    def gradient_sums(self, terms: Sequence[Array], g: Array, sizes: Sizes) -> Array:
        from dnas.kernels.sums_numba import gradient_sums

        places = np.array([address(term) for term in terms])
        batch, height, width, channels = sizes

        def work(begin: int, end: int) -> Any:
            return gradient_sums(begin, end, places, g, height * width, channels, lanes(channels, g.itemsize))

        TRAFFIC.add([*terms, g])
        return summed(in_parts(work, batch)).reshape(-1, channels)


@cache
def _column(numbers: tuple[float, ...]) -> Array:
    return np.array(numbers)[:, None]
