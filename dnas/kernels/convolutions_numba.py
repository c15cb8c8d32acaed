"""Depthwise and 1x1 convolutions of one image, and their gradients, for images that stay in the processor's cache.

Images and weights are given by their addresses. An image is a long array of blocks, each with as many channels as a
vector has lanes: entry (block, h, w, lane). So all steps from pixel to pixel are known when a kernel is compiled. Rows
are longer than a row of pixels where an image is padded or its width is no multiple of eight: products have eight sums
side by side, since a multiply-add is ready only four cycles after it began. What comes out beyond a row is not used.
"""

from __future__ import annotations

from typing import Any

from dnas.kernels.compiled import compiled
from dnas.kernels.vectors_numba import fma_all, fma_spread, load, load_all, plus_all, store_all, zeros

# Constants of a kernel are lengths of tuples, as `lanes` is, since those are known when it is compiled.
_ONE, _TWO, _THREE, _FOUR, _FIVE, _EIGHT = (0,), (0,) * 2, (0,) * 3, (0,) * 4, (0,) * 5, (0,) * 8


@compiled
def depthwise(
    x: int, at: int, row: int, weight: int, tap: int, out: int, o: int, sizes: Any, kernel: Any, more: bool, lanes: Any
) -> None:
    """out[h, w] = sum_ij weight[i, j] x[s h + d i, s w + d j] of one block, added to what is there if `more`.

    Args:
        x, at, row: images, where the first tap lies, and how long a row is.
        weight, tap: kernels (taps, channels), and where that of the block begins.
        out, o: images, and where the block begins.
        sizes: height of out, its width rounded up to eights, and number of channels.
        kernel: size 3 or 5, dilation d and stride s, 1 or 2.
    """
    size, dilation, stride = kernel
    if size == 3:
        if stride == 1:
            _depthwise(x, at, row, weight, tap, out, o, sizes, dilation, more, _THREE, _ONE, lanes)
        else:
            _depthwise(x, at, row, weight, tap, out, o, sizes, dilation, more, _THREE, _TWO, lanes)
    elif stride == 1:
        _depthwise(x, at, row, weight, tap, out, o, sizes, dilation, more, _FIVE, _ONE, lanes)
    else:
        _depthwise(x, at, row, weight, tap, out, o, sizes, dilation, more, _FIVE, _TWO, lanes)


@compiled
def _depthwise(
    x: int,
    at: int,
    row: int,
    weight: int,
    tap: int,
    out: int,
    o: int,
    sizes: Any,
    dilation: int,
    more: bool,
    size: Any,
    stride: Any,
    lanes: Any,
) -> None:
    height, width, channels = sizes
    for h in range(height):
        for w in range(0, width, 8):
            sums = load_all(out, o, len(lanes), _EIGHT, lanes) if more else zeros(_EIGHT, lanes)
            k, b = tap, at + (h * row + w * len(lanes)) * len(stride)
            for i in range(len(size)):
                for j in range(len(size)):
                    x_at = b + i * dilation * row + j * dilation * len(lanes)
                    sums = fma_all(load(weight, k, lanes), x, x_at, len(stride) * len(lanes), sums)
                    k += channels
            store_all(out, o, len(lanes), sums)
            o += 8 * len(lanes)


@compiled
def depthwise_weight(
    x: int, at: int, row: int, g: int, g_at: int, out: int, tap: int, sizes: Any, kernel: Any, lanes: Any
) -> None:
    """out[i, j] += sum_hw g[s h, s w] x[s h + d i, s w + d j] of one block.

    Args:
        x, at, row: images, where the first tap lies, and how long a row is.
        g, g_at: gradient of the convolution's result at every s-th pixel of rows as long, and where it begins.
        out, tap: gradients of the kernels (taps, channels), and where that of the block begins.
        sizes: height and width of the convolution's result, and number of channels.
        kernel: size 3 or 5, dilation d and stride s.
    """
    size, dilation, stride = kernel
    step, next_tap, next_row = stride * len(lanes), dilation * len(lanes), dilation * row
    if size == 3:
        _nine_taps(x, at, row, g, g_at, out, tap, sizes, stride, step, next_tap, next_row, lanes)
    else:
        for i in range(5):
            first = tap + i * 5 * sizes[2]
            _five_taps(x, at + i * next_row, row, g, g_at, out, first, sizes, stride, step, next_tap, lanes)


@compiled
def _nine_taps(
    x: int,
    at: int,
    row: int,
    g: int,
    g_at: int,
    out: int,
    tap: int,
    sizes: Any,
    stride: int,
    step: int,
    next_tap: int,
    next_row: int,
    lanes: Any,
) -> None:
    """All taps of a 3x3 kernel, each with a sum of its own."""
    height, width, channels = sizes
    top = load_all(out, tap, channels, _THREE, lanes)
    middle = load_all(out, tap + 3 * channels, channels, _THREE, lanes)
    bottom = load_all(out, tap + 6 * channels, channels, _THREE, lanes)
    for h in range(height):
        b, c = at + h * stride * row, g_at + h * stride * row
        for _ in range(width):
            v = load(g, c, lanes)
            top = fma_all(v, x, b, next_tap, top)
            middle = fma_all(v, x, b + next_row, next_tap, middle)
            bottom = fma_all(v, x, b + 2 * next_row, next_tap, bottom)
            b, c = b + step, c + step
    store_all(out, tap, channels, top)
    store_all(out, tap + 3 * channels, channels, middle)
    store_all(out, tap + 6 * channels, channels, bottom)


@compiled
def _five_taps(
    x: int,
    at: int,
    row: int,
    g: int,
    g_at: int,
    out: int,
    tap: int,
    sizes: Any,
    stride: int,
    step: int,
    next_tap: int,
    lanes: Any,
) -> None:
    """The taps of one row of a 5x5 kernel, each with one sum for even and one for odd pixels."""
    height, width, channels = sizes
    even, odd = load_all(out, tap, channels, _FIVE, lanes), zeros(_FIVE, lanes)
    for h in range(height):
        b, c = at + h * stride * row, g_at + h * stride * row
        for _ in range(width // 2):
            even = fma_all(load(g, c, lanes), x, b, next_tap, even)
            odd = fma_all(load(g, c + step, lanes), x, b + step, next_tap, odd)
            b, c = b + 2 * step, c + 2 * step
        if width % 2:
            even = fma_all(load(g, c, lanes), x, b, next_tap, even)
    store_all(out, tap, channels, plus_all(even, odd))


@compiled
def pointwise(
    x: int, at: int, x_steps: Any, matrix: int, first: int, out: int, o: int, steps: Any, sizes: Any, lanes: Any
) -> None:
    """out[h, w] = sum_k x[h, w, k] matrix[k] of one block.

    Args:
        x, at: images, and where the first pixel lies.
        x_steps: steps of x to the next block and row.
        matrix, first: (channels, channels), and where the columns of the block begin.
        out, o: images, and where the first pixel lies.
        steps: steps of out to the next row and pixel.
        sizes: height, width and channels.
    """
    height, width, channels = sizes
    plane, row = x_steps
    out_row, step = steps
    for h in range(height):
        a, b, w = at + h * row, o + h * out_row, 0
        while w + 8 <= width:
            _products(x, a, plane, matrix, first, channels, out, b, step, _EIGHT, lanes)
            a, b, w = a + 8 * len(lanes), b + 8 * step, w + 8
        while w + 4 <= width:
            _products(x, a, plane, matrix, first, channels, out, b, step, _FOUR, lanes)
            a, b, w = a + 4 * len(lanes), b + 4 * step, w + 4
        while w < width:
            _products(x, a, plane, matrix, first, channels, out, b, step, _ONE, lanes)
            a, b, w = a + len(lanes), b + step, w + 1


@compiled
def _products(
    x: int,
    at: int,
    plane: int,
    matrix: int,
    first: int,
    channels: int,
    out: int,
    o: int,
    step: int,
    count: Any,
    lanes: Any,
) -> None:
    """As `pointwise`, for `count` pixels."""
    sums = zeros(count, lanes)
    for _ in range(channels // len(lanes)):
        for k in range(len(lanes)):
            sums = fma_spread(load(matrix, first + k * channels, lanes), x, at + k, len(lanes), sums)
        at, first = at + plane, first + len(lanes) * channels
    store_all(out, o, step, sums)


@compiled
def pointwise_weight(x: int, g: int, plane: int, row: int, out: int, o: int, sizes: Any, lanes: Any) -> None:
    """out[k, c] += sum_p x[p, k] g[p, c], (channels, channels), of all blocks.

    Args:
        x, g, plane, row: images, how long their blocks are, and how long a row is.
        out, o: matrices (channels, channels), and where the one that is added to begins.
        sizes: height, width and channels of the images.
    """
    height, width, channels = sizes
    for c in range(channels // len(lanes)):
        for k in range(channels // len(lanes)):
            first = o + (k * channels + c) * len(lanes)
            sums = load_all(out, first, channels, lanes, lanes)
            for h in range(height):
                a, b = k * plane + h * row, c * plane + h * row
                for _ in range(width):
                    sums = fma_spread(load(g, b, lanes), x, a, 1, sums)
                    a, b = a + len(lanes), b + len(lanes)
            store_all(out, first, channels, sums)
