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
from dnas.kernels.vectors_numba import fma, load, plus, positive, spread, store, where_positive, zero


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
    pixels, blocks = out_height * out_width, channels // len(lanes)
    row, out_row = (width + 2 * pad) * len(lanes), _eights(out_width) * len(lanes)
    plane, out_plane = (height + 2 * pad) * row, out_height * out_row
    scratch, places = scratch_of(x, (blocks * plane, blocks * out_plane), lanes)
    padded, middle = places[0], places[1]
    images, to_y, all_taps, matrices = x.ctypes.data, y.ctypes.data, weights[0].ctypes.data, weights[1].ctypes.data
    part, total = np.empty(2 * channels, x.dtype), np.zeros((count, 2 * channels), np.float64)
    for n in range(begin, end):
        _fill(images, n * height * width * channels, norm, padded, row, plane, pad, sizes, lanes)
        taps = 0
        for k in range(count):
            size, dilation = kernels[0][k], kernels[1][k]
            base = (pad - dilation * (size // 2)) * (row + len(lanes))
            shape, kernel = (out_height, _eights(out_width), channels), (size, dilation, stride)
            first = (k * batch + n) * pixels * channels
            for c in range(blocks):
                tap = taps + c * len(lanes)
                at, o = base + c * plane, c * out_plane
                depthwise(padded, at, row, all_taps, tap, middle, o, shape, kernel, False, lanes)
            for c in range(blocks):
                column, o = k * channels**2 + c * len(lanes), first + c * len(lanes)
                steps, of_y = (out_plane, out_row), (out_width * channels, channels)
                pointwise(middle, 0, steps, matrices, column, to_y, o, of_y, (out_height, out_width, channels), lanes)
            taps += size * size * channels
            part[:] = 0
            _add_squares(to_y, first, pixels, channels, part, lanes)
            for c in range(2 * channels):
                total[k, c] += part[c]
    scratch[0] = 0  # numba frees an array after its last use, and does not know its address
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
    blocks, out_shape = channels // len(lanes), (out_height, out_width, channels)
    row, out_row, plain_row = (
        (width + 2 * pad) * len(lanes),
        _eights(out_width) * len(lanes),
        _eights(width) * len(lanes),
    )
    plane, out_plane, plain_plane = (height + 2 * pad) * row, out_height * out_row, height * plain_row
    lengths = (blocks * plane, blocks * plane, blocks * out_plane, blocks * out_plane, blocks * plain_plane)
    scratch, places = scratch_of(x, lengths, lanes)
    padded, wide, middle, g_y, plain = places[0], places[1], places[2], places[3], places[4]
    images, of_images = x.ctypes.data, gradients[0].ctypes.data
    all_taps, turned, matrices = weights[0].ctypes.data, weights[1].ctypes.data, weights[2].ctypes.data
    of_taps, of_matrices = gradients[1].ctypes.data, gradients[2].ctypes.data
    part, total = np.empty(2 * channels, x.dtype), np.zeros(2 * channels, np.float64)
    for n in range(begin, end):
        first = n * height * width * channels
        _fill(images, first, norm, padded, row, plane, pad, sizes, lanes)
        taps = 0
        for k in range(count):
            size, dilation = kernels[0][k], kernels[1][k]
            base, center = (pad - dilation * (size // 2)) * (row + len(lanes)), pad * (row + len(lanes))
            _gradient_of_y(outer, k, n * out_height * out_width * channels, g_y, out_row, out_shape, lanes)
            for c in range(blocks):
                column = k * channels**2 + c * len(lanes)
                steps, of_wide = (out_plane, out_row), (stride * row, stride * len(lanes))
                pointwise(g_y, 0, steps, matrices, column, wide, c * plane + center, of_wide, out_shape, lanes)
            for c in range(blocks):
                tap, at = taps + c * len(lanes), c * plane + base
                if wanted[1]:
                    shape, kernel = (out_height, _eights(out_width), channels), (size, dilation, stride)
                    o = c * out_plane
                    depthwise(padded, at, row, all_taps, tap, middle, o, shape, kernel, False, lanes)
                    o = c * plane + center
                    depthwise_weight(padded, at, row, wide, o, of_taps, tap, out_shape, kernel, lanes)
                if wanted[0]:
                    shape, kernel = (height, _eights(width), channels), (size, dilation, 1)
                    o = c * plain_plane
                    depthwise(wide, at, row, turned, tap, plain, o, shape, kernel, k > 0, lanes)
            if wanted[1]:
                pointwise_weight(middle, g_y, out_plane, out_row, of_matrices, k * channels**2, out_shape, lanes)
            taps += size * size * channels
        if wanted[0]:
            part[:] = 0
            _mask(padded, row, plane, pad, plain, plain_row, added, images, first, of_images, sizes, part, lanes)
            for c in range(2 * channels):
                total[c] += part[c]
    scratch[0] = 0  # as in `chains_forward`
    return total


@compiled
def _widest(kernels: Any) -> int:
    """The padding that all kernels need."""
    pad = 0
    for size, dilation in zip(kernels[0], kernels[1]):  # noqa: B905, numba knows no `strict`
        pad = max(pad, dilation * (size // 2))
    return pad


@compiled
def _eights(width: int) -> int:
    """The width rounded up to a multiple of eight."""
    return (width + 7) // 8 * 8


@compiled
def scratch_of(like: Any, lengths: Any, lanes: Any) -> Any:
    """Zeros, and the addresses of parts of these lengths in them.

    Each part begins at a multiple of 64 bytes, so that no vector lies in two lines of the cache, and has zeros behind
    it, since a row of eight pixels at every second place reads beyond an image.
    """
    behind, line = 16 * len(lanes), 64 // like.itemsize
    total = line
    for length in lengths:
        total += (length + behind + line - 1) // line * line
    zeros = np.zeros(total, like.dtype)
    place = (zeros.ctypes.data + 63) // 64 * 64
    places = np.empty(len(lengths), np.intp)
    for part in range(len(lengths)):
        places[part] = place
        place += (lengths[part] + behind + line - 1) // line * 64
    return zeros, places


@compiled
def _fill(x: Any, first: int, norm: Any, padded: Any, row: int, plane: int, pad: int, sizes: Any, lanes: Any) -> None:
    """The inside of padded = max(scale x + shift, 0)."""
    _, height, width, channels = sizes
    for block in range(channels // len(lanes)):
        c = block * len(lanes)
        scale, shift = load(norm[0], c, lanes), load(norm[1], c, lanes)
        for h in range(height):
            i = first + h * width * channels + c
            o = block * plane + (h + pad) * row + pad * len(lanes)
            for _ in range(width):
                store(padded, o, positive(fma(scale, load(x, i, lanes), shift)))
                i += channels
                o += len(lanes)


@compiled
def _add_squares(y: Any, first: int, pixels: int, channels: int, total: Any, lanes: Any) -> None:
    """total[0, c] += sum_p y[p, c]; total[1, c] += sum_p y[p, c]^2."""
    for c in range(0, channels, len(lanes)):
        s0, t0 = load(total, c, lanes), load(total, channels + c, lanes)
        s1 = t1 = zero(lanes)
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
def _gradient_of_y(outer: Any, k: int, first: int, out: Any, row: int, shape: Any, lanes: Any) -> None:
    """out[p, c] = a_k g_k[p, c] + b_k y_k[p, c] + c_k, for one image that begins at entry `first`."""
    g_at, y_at, a, b, constant = outer
    height, width, channels = shape
    for block in range(channels // len(lanes)):
        c = block * len(lanes)
        of_g, of_y = load(a, k * channels + c, lanes), load(b, k * channels + c, lanes)
        of_all = load(constant, k * channels + c, lanes)
        i = first + c
        for h in range(height):
            o = (block * height + h) * row
            for _ in range(width):
                rest = fma(of_y, load(y_at[k], i, lanes), of_all)
                store(out, o, fma(of_g, load(g_at[k], i, lanes), rest))
                i += channels
                o += len(lanes)


@compiled
def _mask(
    padded: Any,
    row: int,
    plane: int,
    pad: int,
    g: Any,
    g_row: int,
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
    for block in range(channels // len(lanes)):
        c = block * len(lanes)
        s, t = load(total, c, lanes), load(total, channels + c, lanes)
        i = first + c
        for h in range(height):
            b = block * plane + (h + pad) * row + pad * len(lanes)
            a = (block * height + h) * g_row
            for _ in range(width):
                v = where_positive(load(padded, b, lanes), load(g, a, lanes))
                if added[1][0] != 0:
                    v = fma(factor, load(added[0], i, lanes), v)
                s, t = plus(s, v), fma(v, load(x, i, lanes), t)
                store(out, i, v)
                i += channels
                b += len(lanes)
                a += len(lanes)
        store(total, c, s)
        store(total, channels + c, t)
