"""Depthwise convolution on the GPU: three Triton kernels, one for each slot of one trilinear form.

For images x, kernels k and the gradient g of the output

    T(x, k, g) = sum over n, p, q, e, c, i, j of
                 g[n, eC + c, p, q]  k[eC + c, i, j]  x[n, c, s p + d (i - r), s q + d (j - r)]

with stride s, dilation d, radius r = size // 2; x is 0 outside the image. Each of the `E` edges that leave a state has
its own kernel of `C` channels and all read the same x, so that one launch serves all of them. The convolution is dT/dg,
the input gradient dT/dx and the weight gradient dT/dk. The derivative of one of the three is another of them, so three
kernels suffice for derivatives of every order.

Memory is channels-last: neighbouring threads hold neighbouring channels, and each program takes a tile of pixels and
channels. A tap's neighbours overlap those of the tap before and come from the L1 cache. Sums are in float32 (float64
for float64) in a fixed order, so that results repeat bit by bit.

Not yet measured on a GPU: tested in Triton's interpreter on the CPU and compiled for compute capability 8.0 and 9.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

from dnas.system.errors import UserError

# Number of elements (pixels times channels), for each number of edges, that a program of four warps holds at once.
# With these the compiler reports at most 128 registers per thread for 5x5 kernels and, except for a few bytes, no
# spills; with more channels it moves every tap's weights through shared memory.
TILE_ELEMENTS = 512
TILE_CHANNELS = 16
TILE_EDGES = 4
# Enough splits to occupy 132 multiprocessors; with more there would be more sums to add up.
WEIGHT_GRADIENT_PROGRAMS = 640


def depthwise(x: Tensor, weight: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
    """Depthwise convolution of the same images with the kernels of one or several edges.

        y[:, eC + c] = x[:, c] convolved with weight[eC + c]

    For one edge this is `F.conv2d(x, weight, None, stride, dilation * (size // 2), dilation, groups=C)`. (Groups with a
    multiplier in `F.conv2d` have another order: all edges of channel 0 first.) Autocast casts x but not the weights,
    which are read in their own precision.

    Args:
        x: images (batch, C, height, width), float16, bfloat16, float32 or float64; copied unless they are
            channels-last.
        weight: (E * C, 1, size, size) with odd size, in the type of x or a wider one. Fastest if channels are
            neighbours in memory, as in `torch.empty(size, size, 1, E * C).permute(3, 2, 0, 1)`; otherwise it is copied.
        stride: stride of height and width, in pixels.
        dilation: distance between two taps, in pixels.

    Returns:
        (batch, E * C, ceil(height / stride), ceil(width / stride)), channels-last, in the type of x.

    Raises:
        UserError: shapes do not fit, or tensors are on the CPU outside Triton's interpreter.
    """
    _check(x, weight)
    if torch.is_autocast_enabled(x.device.type) and x.dtype == torch.float32:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    geometry = Geometry(x.shape[1], x.shape[2], x.shape[3], weight.shape[-1], stride, dilation)
    return _Convolution.apply(x, weight, geometry)  # type: ignore[no-any-return]


def _check(x: Tensor, weight: Tensor) -> None:
    if x.dim() != 4 or weight.dim() != 4:
        raise UserError(f"Images and weights have 4 dimensions; got {tuple(x.shape)} and {tuple(weight.shape)}.")
    rows, one, height, width = weight.shape
    if rows % x.shape[1] or one != 1 or height != width or height % 2 == 0:
        raise UserError(
            f"Images of {x.shape[1]} channels need weights (multiple of {x.shape[1]}, 1, size, size) with odd size; "
            f"got {tuple(weight.shape)}."
        )
    if x.device.type == "cpu" and not knobs.runtime.interpret:
        raise UserError(
            "The Triton kernels need a GPU; use dnas.space.depthwise.DepthwiseConv on the CPU, or set "
            "TRITON_INTERPRET=1 before Triton is imported to test the kernels without one."
        )


@dataclass(frozen=True)
class Geometry:
    """The images before the convolution, and the convolution's own numbers, in pixels."""

    channels: int
    height: int
    width: int
    size: int
    stride: int
    dilation: int

    @property
    def out_height(self) -> int:
        return -(-self.height // self.stride)

    @property
    def out_width(self) -> int:
        return -(-self.width // self.stride)


# In an autograd function `v` is the gradient of its result: T's derivatives once more.


class _Convolution(torch.autograd.Function):
    """y = dT/dg (x, k)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        return convolve(x, weight, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        return (
            _InputGradient.apply(v, weight, ctx.geometry) if ctx.needs_input_grad[0] else None,
            _WeightGradient.apply(v, x, weight.dtype, ctx.geometry) if ctx.needs_input_grad[1] else None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    """dT/dx (g, k)."""

    @staticmethod
    def forward(g: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        return input_gradient(g, weight, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, weight, ctx.geometry = inputs
        ctx.save_for_backward(g, weight)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        g, weight = ctx.saved_tensors
        return (
            _Convolution.apply(v, weight, ctx.geometry) if ctx.needs_input_grad[0] else None,
            _WeightGradient.apply(g, v, weight.dtype, ctx.geometry) if ctx.needs_input_grad[1] else None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """dT/dk (g, x), in the type of the weights."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, dtype: torch.dtype, geometry: Geometry) -> Tensor:
        return weight_gradient(g, x, dtype, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, x, _, ctx.geometry = inputs
        ctx.save_for_backward(g, x)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        g, x = ctx.saved_tensors
        return (
            _Convolution.apply(x, v, ctx.geometry) if ctx.needs_input_grad[0] else None,
            _InputGradient.apply(g, v, ctx.geometry) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def convolve(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """dT/dg, of shape (N, EC, P, Q), from images (N, C, H, W) and weights (EC, 1, size, size)."""
    x, taps = _channels_last(x), _taps_first(weight)
    y = _empty(x, weight.shape[0], geometry.out_height, geometry.out_width)
    tiles = Tiles.of(y, geometry)
    grid = (tiles.of_pixels, tiles.of_channels, tiles.of_edges)
    sizes, constants = _sizes(y, geometry), _constants(y, geometry, tiles)
    _launch(_convolve_kernel, grid, (y, x, taps, *_strides(x), *sizes, *constants))
    return y


def input_gradient(g: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """dT/dx, of shape (N, C, H, W), from gradients (N, EC, P, Q) and weights (EC, 1, size, size)."""
    g, taps = _channels_last(g), _taps_first(weight)
    dx = _empty(g, geometry.channels, geometry.height, geometry.width)
    tiles = Tiles.of(g, geometry)
    grid = (tiles.of_pixels, tiles.of_channels, geometry.stride**2)
    sizes, constants = _sizes(g, geometry), _constants(g, geometry, tiles)
    _launch(_input_gradient_kernel, grid, (dx, g, taps, *_strides(g), *sizes, *constants))
    return dx


def weight_gradient(g: Tensor, x: Tensor, dtype: torch.dtype, geometry: Geometry) -> Tensor:
    """dT/dk, of shape (EC, 1, size, size), from gradients (N, EC, P, Q) and images (N, C, H, W).

    The pixels are split among programs. Their sums are added afterwards, not atomically, so that results repeat; the
    number of splits does not depend on the GPU.
    """
    g, x = _channels_last(g), _channels_last(x)
    tiles = Tiles.of(g, geometry)
    others = tiles.of_channels * tiles.of_edges * geometry.size
    splits = min(tiles.of_pixels, triton.cdiv(WEIGHT_GRADIENT_PROGRAMS, others))
    total = torch.float64 if g.dtype == torch.float64 else torch.float32
    sums = torch.empty(splits, geometry.size, geometry.size, g.shape[1], dtype=total, device=g.device)
    grid = (splits, tiles.of_channels, tiles.of_edges * geometry.size)
    sizes, constants = _sizes(g, geometry), _constants(g, geometry, tiles)
    _launch(_weight_gradient_kernel, grid, (sums, g, x, *_strides(g), *_strides(x), *sizes, *constants))
    return sums.sum(0).to(dtype).permute(2, 0, 1)[:, None]


def _launch(kernel: Any, grid: tuple[int, int, int], arguments: tuple[object, ...]) -> None:
    # Multiplication and addition are one instruction (FMA); Triton 3.9 warns unless that is stated.
    kernel[grid](*arguments, enable_fp_fusion=True)


def _channels_last(images: Tensor) -> Tensor:
    """The kernels need channels that are neighbours; rows and columns may have any distance."""
    if images.stride(1) == 1 or images.shape[1] == 1:
        return images
    return images.contiguous(memory_format=torch.channels_last)


def _taps_first(weight: Tensor) -> Tensor:
    """(EC, 1, size, size) to contiguous (size, size, EC), without a copy if the weights are stored like that."""
    return weight[:, 0].permute(1, 2, 0).contiguous()


def _empty(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Images of the same number, type and device, channels-last."""
    shape = (like.shape[0], channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _strides(images: Tensor) -> tuple[int, int, int]:
    """Distances of two images, rows and columns in memory."""
    return images.stride(0), images.stride(2), images.stride(3)


def _sizes(output: Tensor, geometry: Geometry) -> tuple[int, ...]:
    """N, C, E, H, W, P, Q: all sizes that the kernels need."""
    batch, channels, height, width = output.shape
    return batch, geometry.channels, channels // geometry.channels, geometry.height, geometry.width, height, width


def _constants(output: Tensor, geometry: Geometry, tiles: Tiles) -> tuple[object, ...]:
    """The constants that the kernels are compiled for."""
    total = tl.float64 if output.dtype == torch.float64 else tl.float32
    return geometry.size, geometry.stride, geometry.dilation, total, tiles.pixels, tiles.channels, tiles.edges


@dataclass(frozen=True)
class Tiles:
    """Pixels, channels and edges of one tile, powers of two as Triton's blocks must be, and how many tiles."""

    pixels: int
    channels: int
    edges: int
    of_pixels: int
    of_channels: int
    of_edges: int

    @classmethod
    def of(cls, output: Tensor, geometry: Geometry) -> Tiles:
        """Tiles of images (N, EC, P, Q)."""
        num_edges = output.shape[1] // geometry.channels
        channels = min(TILE_CHANNELS, triton.next_power_of_2(geometry.channels))
        edges = min(TILE_EDGES, triton.next_power_of_2(num_edges))
        pixels = TILE_ELEMENTS // channels
        num_pixels = output.shape[0] * output.shape[2] * output.shape[3]
        return cls(
            pixels,
            channels,
            edges,
            triton.cdiv(num_pixels, pixels),
            triton.cdiv(geometry.channels, channels),
            triton.cdiv(num_edges, edges),
        )


# Inside the kernels: a tile has the shape (edges, pixels, channels); N images; H, W rows and columns of x; P, Q those
# of y; `*_n`, `*_h`, `*_w` distances in memory; results are contiguous. Columns of the kernel are unrolled, rows are
# not: with all 25 taps unrolled the compiler loads them all first, and with bfloat16 spilled 10 KB of registers.


@triton.jit
def _tile_positions(tile, N, P, Q, PIXELS: tl.constexpr):
    """Image, row and column of each output pixel of a tile, (1, pixels, 1), and whether it exists."""
    pixel = (tile * PIXELS + tl.arange(0, PIXELS))[None, :, None]
    return (pixel // (P * Q)).to(tl.int64), pixel // Q % P, pixel % Q, pixel < N * P * Q


@triton.jit
def _convolve_kernel(
    y, x, taps, x_n, x_h, x_w, N, C, E, H, W, P, Q,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, TOTAL: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """y[n, p, q, eC + c] = sum over i, j of k[i, j, eC + c] x[n, s p + d (i - r), s q + d (j - r), c]."""
    n, p, q, exists = _tile_positions(tl.program_id(0), N, P, Q, PIXELS)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, None, :]
    e = (tl.program_id(2) * EDGES + tl.arange(0, EDGES))[:, None, None]
    center = x + n * x_n + p * STRIDE * x_h + q * STRIDE * x_w + c
    total = tl.full((EDGES, PIXELS, CHANNELS), 0, TOTAL)
    for i in range(SIZE):
        for j in tl.static_range(SIZE):  # pyright: ignore[reportGeneralTypeIssues]
            down = DILATION * (i - SIZE // 2)
            right = DILATION * (j - SIZE // 2)
            row = p * STRIDE + down
            column = q * STRIDE + right
            inside = exists & (row >= 0) & (row < H) & (column >= 0) & (column < W) & (c < C)
            neighbour = tl.load(center + (down * x_h + right * x_w), inside, 0)
            tap = tl.load(taps + (i * SIZE + j) * E * C + e * C + c, (e < E) & (c < C), 0)
            total += neighbour.to(TOTAL) * tap.to(TOTAL)
    where = y + ((n * P + p) * Q + q) * (E * C) + e * C + c
    tl.store(where, total, exists & (e < E) & (c < C))


@triton.jit
def _input_gradient_kernel(
    dx, g, taps, g_n, g_h, g_w, N, C, E, H, W, P, Q,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, TOTAL: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """dx[n, s p + a, s q + b, c] = sum over e, i, j of k[i, j, eC + c] g[n, p + down, q + right, eC + c].

    A program has the pixels of one remainder (a, b) modulo s; s down = a - d (i - r), and taps where that has no
    solution do not touch them, which is the same for all pixels of the program.
    """
    n, p, q, exists = _tile_positions(tl.program_id(0), N, P, Q, PIXELS)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, None, :]
    a = tl.program_id(2) // STRIDE
    b = tl.program_id(2) % STRIDE
    center = g + n * g_n + p * g_h + q * g_w + c
    total = tl.full((1, PIXELS, CHANNELS), 0, TOTAL)
    for i in range(SIZE):
        for j in tl.static_range(SIZE):  # pyright: ignore[reportGeneralTypeIssues]
            s_down = a - DILATION * (i - SIZE // 2)
            s_right = b - DILATION * (j - SIZE // 2)
            if (s_down % STRIDE == 0) & (s_right % STRIDE == 0):
                down = s_down // STRIDE
                right = s_right // STRIDE
                row = p + down
                column = q + right
                inside = exists & (row >= 0) & (row < P) & (column >= 0) & (column < Q) & (c < C)
                for e in range(E):
                    neighbour = tl.load(center + (down * g_h + right * g_w + e * C), inside, 0)
                    tap = tl.load(taps + (i * SIZE + j) * E * C + e * C + c, c < C, 0)
                    total += neighbour.to(TOTAL) * tap.to(TOTAL)
    h = p * STRIDE + a
    w = q * STRIDE + b
    where = dx + ((n * H + h) * W + w) * C + c
    tl.store(where, total, exists & (h < H) & (w < W) & (c < C))


@triton.jit
def _weight_gradient_kernel(
    sums, g, x, g_n, g_h, g_w, x_n, x_h, x_w, N, C, E, H, W, P, Q,
    SIZE: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, TOTAL: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """sums[split, i, j, eC + c] = sum over n, p, q of g[n, p, q, eC + c] x[n, s p + d (i - r), s q + d (j - r), c].

    A program goes over every num_splits-th tile of pixels for one row i of the kernel. Each thread sums its own pixels;
    threads are added once, at the end.
    """
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, None, :]
    i = tl.program_id(2) % SIZE
    e = (tl.program_id(2) // SIZE * EDGES + tl.arange(0, EDGES))[:, None, None]
    down = DILATION * (i - SIZE // 2)
    totals = (tl.full((EDGES, PIXELS, CHANNELS), 0, TOTAL),) * SIZE
    for tile in range(tl.program_id(0), (N * P * Q + PIXELS - 1) // PIXELS, tl.num_programs(0)):
        n, p, q, exists = _tile_positions(tile, N, P, Q, PIXELS)
        gradient = tl.load(g + n * g_n + p * g_h + q * g_w + e * C + c, exists & (e < E) & (c < C), 0).to(TOTAL)
        row = p * STRIDE + down
        row_inside = exists & (row >= 0) & (row < H) & (c < C)
        center = x + n * x_n + row * x_h + q * STRIDE * x_w + c
        new_totals = ()
        for j in tl.static_range(SIZE):  # pyright: ignore[reportGeneralTypeIssues]
            right = DILATION * (j - SIZE // 2)
            column = q * STRIDE + right
            neighbour = tl.load(center + right * x_w, row_inside & (column >= 0) & (column < W), 0)
            new_totals += (totals[j] + gradient * neighbour.to(TOTAL),)
        totals = new_totals
    for j in tl.static_range(SIZE):  # pyright: ignore[reportGeneralTypeIssues]
        where = sums + ((tl.program_id(0) * SIZE + i) * SIZE + j) * E * C + e * C + c
        tl.store(where, tl.sum(totals[j], axis=1, keep_dims=True), (e < E) & (c < C))
