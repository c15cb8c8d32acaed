"""ReLU and a 1x1 convolution to any number of channels, forward and backward, a few pixels at a time.

A piece of pixels goes through in one go, so that its ReLU and the gradient of its result stay in the first cache. There
they are arrays of blocks, each with as many channels as a vector has lanes: entry (block, pixel, lane). In memory they
are images (batch, pixels, channels). Both numbers of channels are multiples of the lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.kernels.compiled import compiled
from dnas.kernels.vectors_numba import (
    fma,
    fma_spread,
    load,
    load_all,
    plus,
    positive,
    store,
    store_all,
    where_positive,
    zeros,
)

_PIXELS = 64
# Constants of a kernel are lengths of tuples, as in `convolutions_numba`.
_ONE, _EIGHT = (0,), (0,) * 8


@compiled
def product_forward(begin: int, end: int, x: int, matrix: Any, y: int, pixels: int, sizes: Any, lanes: Any) -> Any:
    """y[p] = max(x[p], 0) matrix, for images `begin` to `end`.

    Args:
        x, y: addresses of the images.
        matrix: (channels of x, channels of y), flat.
        pixels: number of pixels of an image.
        sizes: channels of x and of y.

    Returns:
        Sums of y and of y y over images and pixels, (2 channels), in float64.
    """
    inner, outer = sizes
    piece, part, total = np.zeros(_PIXELS * inner, matrix.dtype), np.zeros(2 * outer, matrix.dtype), np.zeros(2 * outer)
    for n in range(begin, end):
        part[:] = 0
        for first in range(n * pixels, (n + 1) * pixels, _PIXELS):
            count = min(_PIXELS, (n + 1) * pixels - first)
            _relu(x, first * inner, piece.ctypes.data, count, inner, lanes)
            _product(piece.ctypes.data, matrix.ctypes.data, y, first * outer, count, inner, outer, lanes)
            _add_sums(y, first * outer, count, outer, part.ctypes.data, lanes)
        for c in range(2 * outer):
            total[c] += part[c]
    piece[0] = part[0] = matrix[0]  # numba frees an array after its last use, and does not know its address
    return total


@compiled
def product_backward(
    begin: int,
    end: int,
    images: Any,
    norm: Any,
    matrix: Any,
    d_matrix: Any,
    wanted: Any,
    pixels: int,
    sizes: Any,
    lanes: Any,
) -> None:
    """Gradients for images `begin` to `end`, where that of y is a g + b y + c.

    Args:
        images: addresses of x, y, g, and of the gradient of x, which is written.
        norm: a, b and c, each (channels of y,).
        matrix: (channels of y, channels of x), flat.
        d_matrix: gradient of the transposed matrix, flat, which is added to.
        wanted: whether the gradients of x and of the matrix are wanted.
    """
    (inner, outer), (x, y, g, d_x) = sizes, images
    piece, g_y = np.zeros(_PIXELS * inner, matrix.dtype), np.zeros(_PIXELS * outer, matrix.dtype)
    for first in range(begin * pixels, end * pixels, _PIXELS):
        count = min(_PIXELS, end * pixels - first)
        _gradient(g, y, norm, g_y.ctypes.data, first * outer, count, outer, lanes)
        if wanted[1]:
            _relu(x, first * inner, piece.ctypes.data, count, inner, lanes)
            _add_weight(piece.ctypes.data, g_y.ctypes.data, d_matrix.ctypes.data, count, inner, outer, lanes)
        if wanted[0]:
            _product(g_y.ctypes.data, matrix.ctypes.data, d_x, first * inner, count, outer, inner, lanes)
            for i in range(first * inner, (first + count) * inner, len(lanes)):
                store(d_x, i, where_positive(load(x, i, lanes), load(d_x, i, lanes)))
    piece[0] = g_y[0] = matrix[0]  # as above


@compiled
def _relu(x: int, first: int, out: int, count: int, channels: int, lanes: Any) -> None:
    for c in range(channels // len(lanes)):
        i, o = first + c * len(lanes), c * _PIXELS * len(lanes)
        for _ in range(count):
            store(out, o, positive(load(x, i, lanes)))
            i, o = i + channels, o + len(lanes)


@compiled
def _gradient(g: int, y: int, norm: Any, out: int, first: int, count: int, channels: int, lanes: Any) -> None:
    """out[p] = a g[p] + b y[p] + c, for the pixels from entry `first` on."""
    for c in range(channels // len(lanes)):
        k = c * len(lanes)
        of_g, of_y, constant = load(norm[0], k, lanes), load(norm[1], k, lanes), load(norm[2], k, lanes)
        i, o = first + k, k * _PIXELS
        for _ in range(count):
            store(out, o, fma(of_g, load(g, i, lanes), fma(of_y, load(y, i, lanes), constant)))
            i, o = i + channels, o + len(lanes)


@compiled
def _product(x: int, matrix: int, out: int, o: int, count: int, inner: int, outer: int, lanes: Any) -> None:
    """out[p, c] = sum_k x[p, k] matrix[k, c], from entry `o` on."""
    for c in range(0, outer - outer % (2 * len(lanes)), 2 * len(lanes)):
        p = 0
        while p + 8 <= count:
            _two_vectors(x, p * len(lanes), matrix, c, out, o + p * outer + c, inner, outer, _EIGHT, lanes)
            p += 8
        while p < count:
            _two_vectors(x, p * len(lanes), matrix, c, out, o + p * outer + c, inner, outer, _ONE, lanes)
            p += 1
    if outer % (2 * len(lanes)):
        c, p = outer - len(lanes), 0
        while p + 8 <= count:
            _one_vector(x, p * len(lanes), matrix, c, out, o + p * outer + c, inner, outer, _EIGHT, lanes)
            p += 8
        while p < count:
            _one_vector(x, p * len(lanes), matrix, c, out, o + p * outer + c, inner, outer, _ONE, lanes)
            p += 1


@compiled
def _two_vectors(
    x: int, at: int, matrix: int, m: int, out: int, o: int, inner: int, outer: int, count: Any, lanes: Any
) -> None:
    """Two vectors of columns from `m` on, for `count` pixels."""
    left = right = zeros(count, lanes)
    for _ in range(inner // len(lanes)):
        for k in range(len(lanes)):
            left = fma_spread(load(matrix, m, lanes), x, at + k, len(lanes), left)
            right = fma_spread(load(matrix, m + len(lanes), lanes), x, at + k, len(lanes), right)
            m += outer
        at += _PIXELS * len(lanes)
    store_all(out, o, outer, left)
    store_all(out, o + len(lanes), outer, right)


@compiled
def _one_vector(
    x: int, at: int, matrix: int, m: int, out: int, o: int, inner: int, outer: int, count: Any, lanes: Any
) -> None:
    """As `_two_vectors`, for one."""
    sums = zeros(count, lanes)
    for _ in range(inner // len(lanes)):
        for k in range(len(lanes)):
            sums = fma_spread(load(matrix, m, lanes), x, at + k, len(lanes), sums)
            m += outer
        at += _PIXELS * len(lanes)
    store_all(out, o, outer, sums)


@compiled
def _add_weight(x: int, g: int, out: int, count: int, inner: int, outer: int, lanes: Any) -> None:
    """out[k, c] += sum_p x[p, k] g[p, c]."""
    for c in range(0, outer, len(lanes)):
        for k in range(0, inner, len(lanes)):
            sums = load_all(out, k * outer + c, outer, lanes, lanes)
            i, j = k * _PIXELS, c * _PIXELS
            for _ in range(count):
                sums = fma_spread(load(g, j, lanes), x, i, 1, sums)
                i, j = i + len(lanes), j + len(lanes)
            store_all(out, k * outer + c, outer, sums)


@compiled
def _add_sums(y: int, first: int, count: int, channels: int, total: int, lanes: Any) -> None:
    """total[c] += sum_p y[p, c]; total[channels + c] += sum_p y[p, c]^2."""
    for c in range(0, channels, len(lanes)):
        s, t = load(total, c, lanes), load(total, channels + c, lanes)
        for i in range(first + c, first + count * channels, channels):
            v = load(y, i, lanes)
            s, t = plus(s, v), fma(v, v, t)
        store(total, c, s)
        store(total, channels + c, t)
