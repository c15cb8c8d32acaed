"""The kernels of a GPU, written in Triton: the same plan as on the CPU. Not yet measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from dnas.cost.kernel_traffic import TRAFFIC
from dnas.kernels.devices import Chains, Kernels, Outer, Sizes

# Programs of `products_backward`, each with a sum of matrices of its own: one for each multiprocessor of an H100.
_PROGRAMS = 132
# Channels of a program where channels do not meet.
_CHANNELS = 16


@dataclass(frozen=True)
class Tiles:
    """Tiles of all channels and some pixels, both powers of two as Triton's blocks must be.

    Args:
        elements: numbers in a tile; with four warps 1024 are 8 for each thread, and all fits into registers.
    """

    elements: int
    channels: int

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels and channels; products need 8 channels, and 16 pixels."""
        channels = max(8, 1 << (self.channels - 1).bit_length())
        return max(16, self.elements // channels), channels

    def count(self, pixels: int) -> int:
        """How many cover so many pixels."""
        return -(-pixels // self.shape[0])


@dataclass(frozen=True)
class TritonKernels(Kernels):
    """Images are contiguous tensors (batch, height, width, channels).

    Args:
        tile: numbers in a tile.
    """

    need = "at most 64 channels"

    device: torch.device
    tile: int = 1024

    def take(self, channels: int) -> bool:
        return channels <= 64  # with a matrix of 128 channels thousands of bytes leave the registers

    def images(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).contiguous()

    def tensor(self, images: Tensor, sizes: Sizes) -> Tensor:
        return images.view(sizes).permute(0, 3, 1, 2)

    def column(self, numbers: tuple[float, ...]) -> Tensor:
        return _column(numbers, self.device)

    def rows(self, arrays: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(arrays))

    def mixture(self, values: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
        return torch.stack([values[place] for place in places]).double()[:, None]

    def spread(self, numbers: Tensor, places: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        found, nothing = dict(zip(places, numbers, strict=True)), torch.zeros_like(numbers[0])
        edges, candidates = like.shape
        every = [found.get((edge, k), nothing) for edge in range(edges) for k in range(candidates)]
        return torch.stack(every).view(edges, candidates).to(like.dtype)

    def scaled(self, images: Tensor, factor: Tensor) -> Tensor:
        return images * factor[0]  # without a dimension it does not change the images' type

    def chains(
        self,
        x: Tensor,
        norm: tuple[Tensor, Tensor] | None,
        sizes: Sizes,
        stride: int,
        dilations: Sequence[int],
        weights: Sequence[tuple[Tensor, Tensor]],
    ) -> TritonChains:
        kernels, matrices = (tuple(own.contiguous() for own in all_own) for all_own in zip(*weights, strict=True))
        return TritonChains(x, norm, sizes, stride, tuple(dilations), kernels, matrices, Tiles(self.tile, sizes[3]))

    def weighted_sum(self, terms: Sequence[Tensor], scale: Tensor, shift: Tensor, sizes: Sizes) -> Tensor:
        from dnas.kernels import sums_triton

        result, tiles, pixels = torch.empty_like(terms[0]), Tiles(self.tile, sizes[3]), prod(sizes[:3])
        arguments = (tuple(terms), scale, shift, pixels, sizes[3], *tiles.shape)
        _launch(sums_triton.weighted_sum, (tiles.count(pixels),), (result, *arguments))
        return result

    def gradient_sums(self, terms: Sequence[Tensor], g: Tensor, sizes: Sizes) -> Tensor:
        from dnas.kernels import sums_triton

        tiles, pixels = Tiles(self.tile, sizes[3]), prod(sizes[:3])
        sums = _empty(g, tiles.count(pixels), len(terms) + 1, sizes[3])
        _launch(sums_triton.gradient_sums, (len(sums),), (sums, tuple(terms), g, pixels, sizes[3], *tiles.shape))
        return sums.sum(0, dtype=torch.float64)


@dataclass(frozen=True)
class TritonChains(Chains):
    """One round of several separable operations that read the same images.

    Args:
        x: images (batch, height, width, channels).
        norm: scale and shift that x gets before ReLU; None for none.
        dilations: of the depthwise kernels.
        kernels, matrices: weights of the depthwise and the 1x1 convolutions.
        tiles: what a program works on.
    """

    x: Tensor
    norm: tuple[Tensor, Tensor] | None
    sizes: Sizes
    stride: int
    dilations: tuple[int, ...]
    kernels: tuple[Tensor, ...]
    matrices: tuple[Tensor, ...]
    tiles: Tiles

    def forward(self) -> tuple[list[Tensor], Tensor]:
        from dnas.kernels.chains_triton import chains_forward

        y = _empty(self.x, len(self.kernels), *self.out_sizes).unbind()
        sums = _empty(self.x, self.tiles.count(prod(self.out_sizes[:3])), len(y), 2, self.sizes[3])
        images, numbers, constants = self._images(), self._numbers(), self._constants()
        arguments = (*images, self.kernels, self.matrices, *numbers, *constants, self.stride, *self.tiles.shape)
        _launch(chains_forward, (len(sums),), (y, sums, *arguments, _precision(self.x)))
        return list(y), sums.sum(0, dtype=torch.float64)

    def backward(
        self, outer: Outer, added: tuple[Tensor, Tensor] | None, wanted: tuple[bool, bool]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        from dnas.kernels.chains_triton import depthwise_backward

        d_z, d_matrices = self._products(outer, wanted[1])
        tiles = Tiles(self.tiles.elements, min(self.sizes[3], _CHANNELS))
        count, taps = tiles.count(prod(self.sizes[:3])), [kernel[0].numel() for kernel in self.kernels]
        d_x = torch.empty_like(self.x)
        sums = _empty(self.x, 0 if self.norm is None else count, 2, self.sizes[3])
        d_kernels = _empty(self.x, count if wanted[1] else 0, sum(taps), self.sizes[3])
        images, numbers, constants = self._images(), self._numbers(), self._constants()
        arguments = (*images, self.kernels, d_z, *(added or (self.x, self.x)), *numbers, *constants, self.stride)
        flags = (*tiles.shape, added is not None, wanted[1])
        programs = count, -(-self.sizes[3] // tiles.shape[1])
        _launch(depthwise_backward, programs, (d_x, d_kernels, sums, *arguments, *flags))
        total = sums if self.norm is None else sums.sum(0, dtype=torch.float64)
        if not wanted[1]:
            return d_x, total, []
        per_kernel = d_kernels.sum(0).split(taps)
        of_kernels = [
            found.t().contiguous().view(kernel.shape) for found, kernel in zip(per_kernel, self.kernels, strict=True)
        ]
        return d_x, total, [own for pair in zip(of_kernels, d_matrices, strict=True) for own in pair]

    def _products(self, outer: Outer, for_weights: bool) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """d_z of each chain, and the gradients of the 1x1 convolutions."""
        from dnas.kernels.chains_triton import products_backward

        channels = self.sizes[3]
        programs = min(_PROGRAMS, self.tiles.count(prod(self.out_sizes[:3])))
        d_z = _empty(self.x, len(self.kernels), *self.out_sizes).unbind()
        sums = _empty(self.x, len(d_z), programs if for_weights else 0, channels, channels)
        precision = _precision(self.x)
        for k, kernel in enumerate(self.kernels):
            weights, given = (kernel, self.matrices[k]), (outer.g[k], outer.y[k], *outer.factors[k])
            _, norm, sizes, dilations = self._constants()
            constants = (channels, norm, sizes[k], dilations[k], self.stride, *self.tiles.shape, precision, for_weights)
            images = self._images() if for_weights else (outer.y[k],) * 3  # which are not read
            arguments = (*images, *weights, *given, *self._numbers(), *constants)
            _launch(products_backward, (programs,), (d_z[k], sums[k], *arguments))
        found = sums.sum(1) if for_weights else ()
        return d_z, [own[:, :, None, None] for own in found]

    def _images(self) -> tuple[Tensor, Tensor, Tensor]:
        """x, scale and shift; where there are none, x stands for both and is not read."""
        scale, shift = self.norm or (self.x, self.x)
        return self.x, scale, shift

    def _numbers(self) -> tuple[int, ...]:
        """N, H, W, P, Q of the kernels."""
        return *self.sizes[:3], *self.out_sizes[1:3]

    def _constants(self) -> tuple[int, bool, tuple[int, ...], tuple[int, ...]]:
        """C, NORM, SIZES, DILATIONS of the kernels."""
        return self.sizes[3], self.norm is not None, tuple(one.shape[-1] for one in self.kernels), self.dilations


def _empty(like: Tensor, *sizes: int) -> Tensor:
    return torch.empty(sizes, dtype=like.dtype, device=like.device)


def _launch(kernel: Any, programs: tuple[int, ...], arguments: tuple[object, ...]) -> None:
    arrays = [one for each in arguments for one in (each if isinstance(each, tuple) else (each,))]
    TRAFFIC.add({one.data_ptr(): one for one in arrays if isinstance(one, Tensor)}.values())
    with torch.cuda.device_of(arrays[0]):  # Triton launches on the current device; nothing on a CPU
        # Multiplication and addition are one instruction (FMA); Triton 3.9 warns unless that is stated.
        kernel[programs](*arguments, enable_fp_fusion=True)


def _precision(x: Tensor) -> str:
    """How products are computed: in TF32 where PyTorch's convolutions would be."""
    allowed = torch.backends.cudnn.conv.fp32_precision == "tf32"  # pyright: ignore[reportAttributeAccessIssue]
    return "tf32" if allowed and x.dtype == torch.float32 else "ieee"


@cache
def _column(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device=device)[:, None]
