"""ReLU, depthwise and 1x1 convolution of all separable operations that read the same images, forward and backward.

Each image goes through in one piece, so that what lies between stays in the processor's cache and memory is read and
written once. Batch norm follows a chain; it is known only after all images, so what comes out here is its input y with
the sums that it needs. What reads y normalises it as it reads: `scale` and `shift` are those of the batch norm before.
The depthwise result is computed again in the backward pass, which is cheaper than a way through memory.

Arrays are flat: images (batch, height, width, channels), results (chains, batch, height', width', channels), kernels
of all chains one after another, each (size, size, channels), and matrices (chains, channels, channels).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.kernels.compiled import compiled
from dnas.kernels.convolutions_numba import depthwise, depthwise_weight, pointwise, pointwise_weight
from dnas.kernels.vectors_numba import fma, load, load_at, plus, positive, spread, store, where_positive, zero


@compiled
def chains_forward(
    begin: int, end: int, x: Any, norm: Any, kernels: Any, stride: int, weights: Any, y: Any, sizes: Any, lanes: Any
) -> Any:
    """Chain k: y[k] = pointwise_k(depthwise_k(max(scale x + shift, 0))) for images `begin` to `end`.

    Args:
        norm: scale and shift, each (channels,).
        kernels: sizes and dilations of the depthwise kernels, each (chains,).
        weights: depthwise kernels and transposed 1x1 matrices of all chains.
        sizes: number of images, height, width, channels of x.

    Returns:
        Sums of y and of y y over images and pixels, (chains, 2 channels), in float64.
    """
    batch, height, width, channels = sizes
    count, pad = len(kernels[0]), _widest(kernels)
    out_height, out_width = (height + stride - 1) // stride, (width + stride - 1) // stride
    pixels = out_height * out_width
    row = (width + 2 * pad) * channels
    padded, middle = _aligned(x, (height + 2 * pad) * row), _aligned(x, pixels * channels)
    part, total = np.empty(2 * channels, x.dtype), np.zeros((count, 2 * channels), np.float64)
    for n in range(begin, end):
        _fill(x, n * height * width * channels, norm, padded, row, pad, sizes, lanes)
        taps = 0
        for k in range(count):
            size, dilation = kernels[0][k], kernels[1][k]
            base = (pad - dilation * (size // 2)) * (row + channels)
            shape, kernel = (out_height, out_width, channels), (size, dilation, stride)
            depthwise(padded, row, base, weights[0][taps:], middle, shape, kernel, False, lanes)
            taps += size * size * channels
            first = (k * batch + n) * pixels * channels
            pointwise(middle, 0, weights[1][k * channels**2 :], y, first, channels, pixels, channels, lanes)
            part[:] = 0
            _add_squares(y, first, pixels, channels, part, lanes)
            total[k] += part
    return total


@compiled
def chains_backward(
    begin: int,
    end: int,
    x: Any,
    norm: Any,
    kernels: Any,
    stride: int,
    weights: Any,
    outer: Any,
    added: Any,
    gradients: Any,
    wanted: Any,
    sizes: Any,
    lanes: Any,
) -> Any:
    """Gradients of all chains for images `begin` to `end`, where that of y[k] is a_k g_k + b_k y_k + c_k.

    The gradient of the images is that of scale x + shift, and not written if it is not wanted.

    Args:
        norm, kernels, stride, sizes: as in `chains_forward`.
        weights: depthwise kernels, the same turned by 180 degrees, and 1x1 matrices of all chains.
        outer: addresses of g_k and of y_k (chains,), and a, b, c, each (chains, channels).
        added: address of what is added to the images' gradient, and its factor (1,); nothing where that is 0.
        gradients: of images (written), depthwise kernels and transposed matrices (both added to).
        wanted: whether gradients of the images, and of the weights, are wanted.

    Returns:
        Sums of the images' gradient and of it times x, (2 channels), in float64.
    """
    _, height, width, channels = sizes
    count, pad = len(kernels[0]), _widest(kernels)
    out_height, out_width = (height + stride - 1) // stride, (width + stride - 1) // stride
    pixels = out_height * out_width
    row = (width + 2 * pad) * channels
    padded, wide = _aligned(x, (height + 2 * pad) * row), _aligned(x, (height + 2 * pad) * row)
    middle, g_y = _aligned(x, pixels * channels), _aligned(x, pixels * channels)
    plain = _aligned(x, height * width * channels)
    part, total = np.empty(2 * channels, x.dtype), np.zeros(2 * channels, np.float64)
    for n in range(begin, end):
        first, out_first = n * height * width * channels, n * pixels * channels
        _fill(x, first, norm, padded, row, pad, sizes, lanes)
        taps = 0
        for k in range(count):
            size, dilation = kernels[0][k], kernels[1][k]
            base, matrix = (pad - dilation * (size // 2)) * (row + channels), k * channels**2
            shape, kernel = (out_height, out_width, channels), (size, dilation, stride)
            _gradient_of_y(outer, k, out_first, g_y, pixels, channels, lanes)
            if wanted[1]:
                depthwise(padded, row, base, weights[0][taps:], middle, shape, kernel, False, lanes)
                pointwise_weight(middle, g_y, gradients[2][matrix:], pixels, channels, lanes)
            for h in range(out_height):
                at = (h * stride + pad) * row + pad * channels
                pointwise(
                    g_y,
                    h * out_width * channels,
                    weights[2][matrix:],
                    wide,
                    at,
                    stride * channels,
                    out_width,
                    channels,
                    lanes,
                )
            if wanted[1]:
                at = pad * (row + channels)
                depthwise_weight(padded, row, base, wide, at, gradients[1][taps:], shape, kernel, lanes)
            if wanted[0]:
                shape, kernel = (height, width, channels), (size, dilation, 1)
                depthwise(wide, row, base, weights[1][taps:], plain, shape, kernel, k > 0, lanes)
            taps += size * size * channels
        if wanted[0]:
            part[:] = 0
            _mask(padded, row, pad, plain, added, x, first, gradients[0], sizes, part, lanes)
            total += part
    return total


@compiled
def _widest(kernels: Any) -> int:
    """The padding that all kernels need."""
    pad = 0
    for size, dilation in zip(kernels[0], kernels[1]):  # noqa: B905, numba knows no `strict`
        pad = max(pad, dilation * (size // 2))
    return pad


@compiled
def _aligned(like: Any, count: int) -> Any:
    """Zeros that begin at a multiple of 64 bytes, so that no vector lies in two lines of the cache."""
    zeros = np.zeros(count + 64 // like.itemsize, like.dtype)
    skip = (-(zeros.ctypes.data // like.itemsize)) % (64 // like.itemsize)
    return zeros[skip : skip + count]


@compiled
def _fill(x: Any, first: int, norm: Any, padded: Any, row: int, pad: int, sizes: Any, lanes: Any) -> None:
    """The inside of padded = max(scale x + shift, 0)."""
    _, height, width, channels = sizes
    for c in range(0, channels, len(lanes)):
        scale, shift = load(norm[0], c, lanes), load(norm[1], c, lanes)
        for h in range(height):
            i = first + h * width * channels + c
            o = (h + pad) * row + pad * channels + c
            for _ in range(width):
                store(padded, o, positive(fma(scale, load(x, i, lanes), shift)))
                i += channels
                o += channels


@compiled
def _add_squares(y: Any, first: int, pixels: int, channels: int, total: Any, lanes: Any) -> None:
    """total[0, c] += sum_p y[p, c]; total[1, c] += sum_p y[p, c]^2."""
    for c in range(0, channels, len(lanes)):
        s0, t0 = load(total, c, lanes), load(total, channels + c, lanes)
        s1 = t1 = zero(total, lanes)
        i = first + c
        for _ in range(pixels // 2):
            v, u = load(y, i, lanes), load(y, i + channels, lanes)
            s0, t0 = plus(s0, v), fma(v, v, t0)
            s1, t1 = plus(s1, u), fma(u, u, t1)
            i += 2 * channels
        if pixels % 2:
            v = load(y, i, lanes)
            s0, t0 = plus(s0, v), fma(v, v, t0)
        store(total, c, plus(s0, s1))
        store(total, channels + c, plus(t0, t1))


@compiled
def _gradient_of_y(outer: Any, k: int, first: int, out: Any, pixels: int, channels: int, lanes: Any) -> None:
    """out[p, c] = a_k g_k[p, c] + b_k y_k[p, c] + c_k, for one image that begins at entry `first`."""
    g_at, y_at, a, b, constant = outer
    for c in range(0, channels, len(lanes)):
        of_g, of_y = load(a, k * channels + c, lanes), load(b, k * channels + c, lanes)
        of_all = load(constant, k * channels + c, lanes)
        for i in range(c, pixels * channels, channels):
            rest = fma(of_y, load_at(out, y_at[k], first + i, lanes), of_all)
            store(out, i, fma(of_g, load_at(out, g_at[k], first + i, lanes), rest))


@compiled
def _mask(
    padded: Any,
    row: int,
    pad: int,
    g: Any,
    added: Any,
    x: Any,
    first: int,
    out: Any,
    sizes: Any,
    total: Any,
    lanes: Any,
) -> None:
    """out = g where the inside of padded is positive, else 0, and `added`; total += the sums of out and of out x."""
    _, height, width, channels = sizes
    factor = spread(added[1], 0, lanes)
    for c in range(0, channels, len(lanes)):
        s, t = load(total, c, lanes), load(total, channels + c, lanes)
        for h in range(height):
            i = h * width * channels + c
            b = (h + pad) * row + pad * channels + c
            for _ in range(width):
                v = where_positive(load(padded, b, lanes), load(g, i, lanes))
                if added[1][0] != 0:
                    v = fma(factor, load_at(out, added[0], first + i, lanes), v)
                s, t = plus(s, v), fma(v, load(x, first + i, lanes), t)
                store(out, first + i, v)
                i += channels
                b += channels
        store(total, c, s)
        store(total, channels + c, t)
