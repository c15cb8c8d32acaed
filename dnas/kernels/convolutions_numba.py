"""Depthwise and 1x1 convolutions of one image, and their gradients, for images that stay in the processor's cache.

An image is a long array, channels last: entry (h, w, c) at `h * row + w * channels + c`, where `row` is longer than a
row of pixels if the image is padded. `base` is where its first tap lies. All channels are multiples of the lanes of a
vector. Products have eight sums side by side, since a multiply-add is ready only four cycles after it began.
"""

from __future__ import annotations

from typing import Any

from dnas.kernels.compiled import compiled
from dnas.kernels.vectors_numba import fma, load, spread, store, zero


@compiled
def depthwise(
    padded: Any, row: int, base: int, weight: Any, out: Any, sizes: Any, kernel: Any, more: bool, lanes: Any
) -> None:
    """out[h, w, c] = sum_ij weight[i, j, c] padded[s h + d i, s w + d j, c], added to what is there if `more`.

    Args:
        sizes: height, width and channels of out.
        kernel: size, dilation d and stride s.
    """
    height, width, channels = sizes
    size, dilation, stride = kernel
    step, to_next_tap = stride * channels, dilation * channels
    for c in range(0, channels, len(lanes)):
        for h in range(height):
            o = h * width * channels + c
            top = base + h * stride * row + c
            w = 0
            while w + 8 <= width:
                if more:
                    a0 = load(out, o, lanes)
                    a1 = load(out, o + channels, lanes)
                    a2 = load(out, o + 2 * channels, lanes)
                    a3 = load(out, o + 3 * channels, lanes)
                    a4 = load(out, o + 4 * channels, lanes)
                    a5 = load(out, o + 5 * channels, lanes)
                    a6 = load(out, o + 6 * channels, lanes)
                    a7 = load(out, o + 7 * channels, lanes)
                else:
                    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = zero(out, lanes)
                k = c
                for i in range(size):
                    b = top + i * dilation * row + w * step
                    for _ in range(size):
                        v = load(weight, k, lanes)
                        a0 = fma(v, load(padded, b, lanes), a0)
                        a1 = fma(v, load(padded, b + step, lanes), a1)
                        a2 = fma(v, load(padded, b + 2 * step, lanes), a2)
                        a3 = fma(v, load(padded, b + 3 * step, lanes), a3)
                        a4 = fma(v, load(padded, b + 4 * step, lanes), a4)
                        a5 = fma(v, load(padded, b + 5 * step, lanes), a5)
                        a6 = fma(v, load(padded, b + 6 * step, lanes), a6)
                        a7 = fma(v, load(padded, b + 7 * step, lanes), a7)
                        b += to_next_tap
                        k += channels
                store(out, o, a0)
                store(out, o + channels, a1)
                store(out, o + 2 * channels, a2)
                store(out, o + 3 * channels, a3)
                store(out, o + 4 * channels, a4)
                store(out, o + 5 * channels, a5)
                store(out, o + 6 * channels, a6)
                store(out, o + 7 * channels, a7)
                w += 8
                o += 8 * channels
            while w < width:
                a0 = load(out, o, lanes) if more else zero(out, lanes)
                k = c
                for i in range(size):
                    b = top + i * dilation * row + w * step
                    for _ in range(size):
                        a0 = fma(load(weight, k, lanes), load(padded, b, lanes), a0)
                        b += to_next_tap
                        k += channels
                store(out, o, a0)
                w += 1
                o += channels


@compiled
def depthwise_weight(
    padded: Any, row: int, base: int, wide: Any, wide_base: int, out: Any, sizes: Any, kernel: Any, lanes: Any
) -> None:
    """out[i, j, c] += sum_hw wide[s h, s w, c] padded[s h + d i, s w + d j, c], for kernels of size 3 and 5.

    Args:
        wide: gradient of the convolution's result at every s-th pixel, in an image of the same rows as `padded`.
        sizes: height, width and channels of the convolution's result.
        kernel: size, dilation d and stride s.
    """
    for c in range(0, sizes[2], len(lanes)):
        if kernel[0] == 3:
            _three_rows(padded, row, base + c, wide, wide_base + c, out, c, sizes, kernel, lanes)
        else:
            for i in range(5):
                first = base + i * kernel[1] * row + c
                _row_of_five(padded, row, first, wide, wide_base + c, out, 5 * i * sizes[2] + c, sizes, kernel, lanes)


@compiled
def _three_rows(
    padded: Any,
    row: int,
    base: int,
    wide: Any,
    wide_base: int,
    out: Any,
    first: int,
    sizes: Any,
    kernel: Any,
    lanes: Any,
) -> None:
    """All nine taps of a 3x3 kernel, each with a sum of its own."""
    height, width, channels = sizes
    _, dilation, stride = kernel
    step, to_next_tap = stride * channels, dilation * channels
    a00 = load(out, first, lanes)
    a01 = load(out, first + channels, lanes)
    a02 = load(out, first + 2 * channels, lanes)
    a10 = load(out, first + 3 * channels, lanes)
    a11 = load(out, first + 4 * channels, lanes)
    a12 = load(out, first + 5 * channels, lanes)
    a20 = load(out, first + 6 * channels, lanes)
    a21 = load(out, first + 7 * channels, lanes)
    a22 = load(out, first + 8 * channels, lanes)
    for h in range(height):
        g = wide_base + h * stride * row
        r0 = base + h * stride * row
        r1 = r0 + dilation * row
        r2 = r1 + dilation * row
        for _ in range(width):
            v = load(wide, g, lanes)
            a00 = fma(v, load(padded, r0, lanes), a00)
            a01 = fma(v, load(padded, r0 + to_next_tap, lanes), a01)
            a02 = fma(v, load(padded, r0 + 2 * to_next_tap, lanes), a02)
            a10 = fma(v, load(padded, r1, lanes), a10)
            a11 = fma(v, load(padded, r1 + to_next_tap, lanes), a11)
            a12 = fma(v, load(padded, r1 + 2 * to_next_tap, lanes), a12)
            a20 = fma(v, load(padded, r2, lanes), a20)
            a21 = fma(v, load(padded, r2 + to_next_tap, lanes), a21)
            a22 = fma(v, load(padded, r2 + 2 * to_next_tap, lanes), a22)
            g += step
            r0 += step
            r1 += step
            r2 += step
    store(out, first, a00)
    store(out, first + channels, a01)
    store(out, first + 2 * channels, a02)
    store(out, first + 3 * channels, a10)
    store(out, first + 4 * channels, a11)
    store(out, first + 5 * channels, a12)
    store(out, first + 6 * channels, a20)
    store(out, first + 7 * channels, a21)
    store(out, first + 8 * channels, a22)


@compiled
def _row_of_five(
    padded: Any,
    row: int,
    base: int,
    wide: Any,
    wide_base: int,
    out: Any,
    first: int,
    sizes: Any,
    kernel: Any,
    lanes: Any,
) -> None:
    """The five taps of one row of a 5x5 kernel."""
    height, width, channels = sizes
    _, dilation, stride = kernel
    step, to_next_tap = stride * channels, dilation * channels
    a0 = load(out, first, lanes)
    a1 = load(out, first + channels, lanes)
    a2 = load(out, first + 2 * channels, lanes)
    a3 = load(out, first + 3 * channels, lanes)
    a4 = load(out, first + 4 * channels, lanes)
    for h in range(height):
        g = wide_base + h * stride * row
        b = base + h * stride * row
        for _ in range(width):
            v = load(wide, g, lanes)
            a0 = fma(v, load(padded, b, lanes), a0)
            a1 = fma(v, load(padded, b + to_next_tap, lanes), a1)
            a2 = fma(v, load(padded, b + 2 * to_next_tap, lanes), a2)
            a3 = fma(v, load(padded, b + 3 * to_next_tap, lanes), a3)
            a4 = fma(v, load(padded, b + 4 * to_next_tap, lanes), a4)
            g += step
            b += step
    store(out, first, a0)
    store(out, first + channels, a1)
    store(out, first + 2 * channels, a2)
    store(out, first + 3 * channels, a3)
    store(out, first + 4 * channels, a4)


@compiled
def pointwise(
    x: Any, first: int, matrix: Any, out: Any, out_first: int, step: int, pixels: int, channels: int, lanes: Any
) -> None:
    """out[p, c] = sum_k x[p, k] matrix[k, c]; x begins at `first`, out at `out_first` with `step` between pixels."""
    for c in range(0, channels, len(lanes)):
        b, o, p = first, out_first + c, 0
        while p + 8 <= pixels:
            a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = zero(out, lanes)
            m = c
            for k in range(b, b + channels):
                v = load(matrix, m, lanes)
                a0 = fma(v, spread(x, k, lanes), a0)
                a1 = fma(v, spread(x, k + channels, lanes), a1)
                a2 = fma(v, spread(x, k + 2 * channels, lanes), a2)
                a3 = fma(v, spread(x, k + 3 * channels, lanes), a3)
                a4 = fma(v, spread(x, k + 4 * channels, lanes), a4)
                a5 = fma(v, spread(x, k + 5 * channels, lanes), a5)
                a6 = fma(v, spread(x, k + 6 * channels, lanes), a6)
                a7 = fma(v, spread(x, k + 7 * channels, lanes), a7)
                m += channels
            store(out, o, a0)
            store(out, o + step, a1)
            store(out, o + 2 * step, a2)
            store(out, o + 3 * step, a3)
            store(out, o + 4 * step, a4)
            store(out, o + 5 * step, a5)
            store(out, o + 6 * step, a6)
            store(out, o + 7 * step, a7)
            p += 8
            o += 8 * step
            b += 8 * channels
        while p < pixels:
            a0 = zero(out, lanes)
            m = c
            for k in range(b, b + channels):
                a0 = fma(load(matrix, m, lanes), spread(x, k, lanes), a0)
                m += channels
            store(out, o, a0)
            p += 1
            o += step
            b += channels


@compiled
def pointwise_weight(x: Any, g: Any, out: Any, pixels: int, channels: int, lanes: Any) -> None:
    """out[k, c] += sum_p x[p, k] g[p, c]; channels are a multiple of 4."""
    for c in range(0, channels, len(lanes)):
        for k in range(0, channels - 7, 8):
            o = k * channels + c
            a0 = load(out, o, lanes)
            a1 = load(out, o + channels, lanes)
            a2 = load(out, o + 2 * channels, lanes)
            a3 = load(out, o + 3 * channels, lanes)
            a4 = load(out, o + 4 * channels, lanes)
            a5 = load(out, o + 5 * channels, lanes)
            a6 = load(out, o + 6 * channels, lanes)
            a7 = load(out, o + 7 * channels, lanes)
            for b in range(0, pixels * channels, channels):
                v = load(g, b + c, lanes)
                a0 = fma(v, spread(x, b + k, lanes), a0)
                a1 = fma(v, spread(x, b + k + 1, lanes), a1)
                a2 = fma(v, spread(x, b + k + 2, lanes), a2)
                a3 = fma(v, spread(x, b + k + 3, lanes), a3)
                a4 = fma(v, spread(x, b + k + 4, lanes), a4)
                a5 = fma(v, spread(x, b + k + 5, lanes), a5)
                a6 = fma(v, spread(x, b + k + 6, lanes), a6)
                a7 = fma(v, spread(x, b + k + 7, lanes), a7)
            store(out, o, a0)
            store(out, o + channels, a1)
            store(out, o + 2 * channels, a2)
            store(out, o + 3 * channels, a3)
            store(out, o + 4 * channels, a4)
            store(out, o + 5 * channels, a5)
            store(out, o + 6 * channels, a6)
            store(out, o + 7 * channels, a7)
        if channels % 8:
            _four_rows(x, g, out, pixels, channels, c, lanes)


@compiled
def _four_rows(x: Any, g: Any, out: Any, pixels: int, channels: int, c: int, lanes: Any) -> None:
    """The last four rows of `pointwise_weight`, where they are not part of eight."""
    k = channels - 4
    o = k * channels + c
    a0 = load(out, o, lanes)
    a1 = load(out, o + channels, lanes)
    a2 = load(out, o + 2 * channels, lanes)
    a3 = load(out, o + 3 * channels, lanes)
    for b in range(0, pixels * channels, channels):
        v = load(g, b + c, lanes)
        a0 = fma(v, spread(x, b + k, lanes), a0)
        a1 = fma(v, spread(x, b + k + 1, lanes), a1)
        a2 = fma(v, spread(x, b + k + 2, lanes), a2)
        a3 = fma(v, spread(x, b + k + 3, lanes), a3)
    store(out, o, a0)
    store(out, o + channels, a1)
    store(out, o + 2 * channels, a2)
    store(out, o + 3 * channels, a3)
