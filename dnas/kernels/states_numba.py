"""The states of a cell with dense convolutions, one image after another: forward and backward.

What leads to a state, is its sum, and leaves it goes through together for each image, so that memory is read and
written once. A state is the weighted sum of batch norms of convolutions, of earlier states, and of their averages over
3x3 pixels. Its own convolutions are one product with their weights side by side: blocks of columns, first those of all
3x3 convolutions, then those of all 1x1 ones. In memory each block is an array of its own.

Other arrays are given by their addresses. All are flat, and channels last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.kernels.chains_numba import scratch_of
from dnas.kernels.compiled import compiled
from dnas.kernels.dense_numba import dense, dense_weight
from dnas.kernels.sums_numba import add_product, weighted_sum
from dnas.kernels.vectors_numba import fma, load, plus, positive, spread, store, where_positive, zero


@compiled
def state_forward(
    begin: int, end: int, terms: Any, linear: Any, state: Any, given: bool, weights: Any, y: Any, sizes: Any, lanes: Any
) -> Any:
    """A state, and what its convolutions make of max(state, 0), for images `begin` to `end`.

    Args:
        terms: addresses of what is summed (terms,), factors (terms, channels), and what is added (channels,).
        linear: addresses of earlier states; the factors of each and of its averages.
        state: images, written unless `given`.
        weights: addresses of those of all blocks, each (channels, channels, size, size).
        y: results of all blocks (blocks, batch, height, width, channels), written.
        sizes: number of images, height, width, channels, and columns of both kinds of convolutions.
        lanes: the longest vector, and one that divides the channels.

    Returns:
        Sums of y and of y y over images and pixels, (2, columns), in float64.
    """
    batch, height, width, channels, of_three, of_one = sizes
    columns, pixels, row = of_three + of_one, height * width, (width + 2) * channels
    lengths = (height + 2) * row, pixels * columns, 9 * channels * of_three, channels * of_one
    scratch, places = scratch_of(state, lengths, lanes[0])
    padded, middle, three, one, shares = places[0], places[1], places[2], places[3], _shares(sizes, state)
    _write_matrices(weights, False, three, one, sizes, lanes[1])
    images, to_y, averages = state.ctypes.data, y.ctypes.data, np.any(linear[2] != 0)
    part, total = np.empty(2 * columns, state.dtype), np.zeros(2 * columns, np.float64)
    for n in range(begin, end):
        first = n * pixels * channels
        if not given:
            last = (n + 1) * pixels
            weighted_sum(n * pixels, last, terms[0], terms[1], terms[2], state, channels, lanes[1])
            _add_itself(linear, images, first, pixels * channels, lanes[1])
            if averages:
                _combined(linear[0], linear[2], first, padded, sizes, lanes[1])
                _sums_of_nine(padded, shares.ctypes.data, True, images, first, sizes, lanes[1])
        if columns:
            _fill(images, first, padded, sizes, lanes[1])
            kernel = (height, width, 3, channels, of_three)
            dense(padded, (0, row, channels), three, middle, False, middle, (0, columns), kernel, lanes)
            image, kernel = (row + channels, row, channels), (height, width, 1, channels, of_one)
            dense(padded, image, one, middle, False, middle, (of_three, columns), kernel, lanes)
            part[:] = 0
            for b in range(columns // channels):
                o = (b * batch + n) * pixels * channels
                _separate(middle, b, to_y, o, pixels, channels, columns, part.ctypes.data, lanes[1])
            total += part
    scratch[0] = shares[0]  # numba frees an array after its last use, and does not know its address
    return total


@compiled
def state_backward(
    begin: int,
    end: int,
    state: Any,
    weights: Any,
    y: Any,
    later: Any,
    linear: Any,
    gradients: Any,
    wanted: Any,
    terms: Any,
    sources: Any,
    sizes: Any,
    lanes: Any,
) -> Any:
    """The gradients of a state and of the weights of its convolutions, for images `begin` to `end`.

    That of block b of y is a_b g_b + b_b y_b + c_b, where g_b is the gradient of the state that the block leads to.

    Args:
        state, weights, y, sizes, lanes: as in `state_forward`.
        later: addresses of g_b (blocks,), and a, b, c, each (columns,).
        linear: addresses of gradients of later states; the factors of this state and of its averages in those states.
        gradients: of the state (written if wanted), and, added to, of the weights of the 3x3 convolutions
            (3, 3, channels, columns) and of the 1x1 ones (channels, columns).
        wanted: whether the gradient of the state, and those of the weights, are to be computed.
        terms: addresses of the terms of the state, and of the earlier states in it.
        sources: addresses of the earlier states of which averages are in it.

    Returns:
        For each of the terms, and then for the averages of each source, the sums over images and pixels of g times it
        (terms + sources, channels), and last those of g, in float64.
    """
    _, height, width, channels, of_three, of_one = sizes
    columns, pixels = of_three + of_one, height * width
    row, wide_row = (width + 2) * channels, (width + 2) * columns
    lengths = (
        (height + 2) * row,
        (height + 2) * wide_row,
        pixels * channels,
        pixels * channels,
        9 * channels * of_three,
        channels * of_one,
    )
    scratch, places = scratch_of(state, lengths, lanes[0])
    padded, wide, through_one, through_both = places[0], places[1], places[2], places[3]
    three, one, shares, ones = places[4], places[5], _shares(sizes, state), np.ones(pixels, state.dtype)
    _write_matrices(weights, True, three, one, sizes, lanes[1])
    images, to_g, of_y, averages = state.ctypes.data, gradients[0].ctypes.data, y.ctypes.data, np.any(linear[2] != 0)
    of_g = np.array([to_g])
    count = len(terms) + len(sources) + 1
    part, total = np.empty(count * channels, state.dtype), np.zeros(count * channels, np.float64)
    for n in range(begin, end):
        first = n * pixels * channels
        if columns:
            _fill(images, first, padded, sizes, lanes[1])
            for b in range(columns // channels):
                _gradient_of_y(later, b, of_y, first, wide, sizes, lanes[1])
            inside = wide_row + columns
            if wanted[1]:
                place, kernel = (inside, wide_row, columns), (height, width, 3, channels, of_three)
                dense_weight(padded, (0, row, channels), wide, place, gradients[1].ctypes.data, kernel, lanes)
                place, kernel = (inside + of_three, wide_row, columns), (height, width, 1, channels, of_one)
                image = row + channels, row, channels
                dense_weight(padded, image, wide, place, gradients[2].ctypes.data, kernel, lanes)
            if wanted[0]:
                image, kernel = (inside + of_three, wide_row, columns), (height, width, 1, of_one, channels)
                dense(wide, image, one, through_one, False, through_one, (0, channels), kernel, lanes)
                image, kernel = (0, wide_row, columns), (height, width, 3, of_three, channels)
                dense(wide, image, three, through_one, True, through_both, (0, channels), kernel, lanes)
        if wanted[0]:
            _mask(padded, through_both, to_g, first, sizes, lanes[1])
            _add_itself(linear, to_g, first, pixels * channels, lanes[1])
            if averages:
                _combined(linear[0], linear[2], first, padded, sizes, lanes[1])
                _share(padded, shares.ctypes.data, sizes, lanes[1])
                _sums_of_nine(padded, ones.ctypes.data, True, to_g, first, sizes, lanes[1])
        part[:] = 0
        to, last = part.ctypes.data, (n + 1) * pixels
        for c in range(0, channels, len(lanes[1])):
            for t in range(len(terms)):
                add_product(to_g, terms[t], n * pixels, last, channels, c, to, t * channels + c, lanes[1])
            _add_sum(to_g, first + c, pixels, channels, to, (count - 1) * channels + c, lanes[1])
        if len(sources):
            # sum_p g (P x) = sum_p (P^T g) x, with P^T g of one image in `through_one`.
            _combined(of_g, ones, first, padded, sizes, lanes[1])
            _share(padded, shares.ctypes.data, sizes, lanes[1])
            _sums_of_nine(padded, ones.ctypes.data, False, through_one, 0, sizes, lanes[1])
            for t in range(len(sources)):
                x = sources[t] + first * state.itemsize
                for c in range(0, channels, len(lanes[1])):
                    at = (len(terms) + t) * channels + c
                    add_product(through_one, x, 0, pixels, channels, c, to, at, lanes[1])
        total += part
    scratch[0] = ones[0] + shares[0]  # as in `state_forward`
    return total


@compiled
def _write_matrices(weights: Any, turned: bool, three: int, one: int, sizes: Any, lanes: Any) -> None:
    """Weights side by side: (3, 3, channels, columns) to `three` and (channels, columns) to `one`.

    With `turned` they are turned by 180 degrees and transposed: (3, 3, columns, channels) and (columns, channels).
    """
    _, _, _, channels, of_three, of_one = sizes
    for b in range(len(weights)):
        is_three = b < of_three // channels
        to, taps, columns = (three, 9, of_three) if is_three else (one, 1, of_one)
        first = (b if is_three else b - of_three // channels) * channels
        for c in range(channels):
            for k in range(channels):
                for tap in range(taps):
                    at = ((taps - 1 - tap) * columns + first + c) * channels + k if turned else 0
                    at = at if turned else (tap * channels + k) * columns + first + c
                    store(to, at, load(weights[b], (c * channels + k) * taps + tap, lanes[:1]))


@compiled
def _shares(sizes: Any, like: Any) -> Any:
    """1 / the number of pixels around each pixel, itself included, (height, width)."""
    _, height, width, _, _, _ = sizes
    shares = np.empty(height * width, like.dtype)
    for h in range(height):
        rows = min(h + 1, height - 1) - max(h - 1, 0) + 1
        for w in range(width):
            shares[h * width + w] = 1 / (rows * (min(w + 1, width - 1) - max(w - 1, 0) + 1))
    return shares


@compiled
def _fill(x: Any, first: int, padded: int, sizes: Any, lanes: Any) -> None:
    """The inside of padded = max(x, 0)."""
    _, height, width, channels, _, _ = sizes
    for h in range(height):
        o = ((h + 1) * (width + 2) + 1) * channels
        for i in range(first + h * width * channels, first + (h + 1) * width * channels, len(lanes)):
            store(padded, o, positive(load(x, i, lanes)))
            o += len(lanes)


@compiled
def _separate(
    middle: int, b: int, y: Any, first: int, pixels: int, channels: int, columns: int, total: Any, lanes: Any
) -> None:
    """y[p, c] = middle[p, b, c]; total[0, b, c] += sum_p y[p, c]; total[1, b, c] += sum_p y[p, c]^2."""
    for c in range(b * channels, (b + 1) * channels, len(lanes)):
        s0, t0 = load(total, c, lanes), load(total, columns + c, lanes)
        s1 = t1 = zero(lanes)
        i, o = c, first + c - b * channels
        for _ in range(pixels // 2):
            v, u = load(middle, i, lanes), load(middle, i + columns, lanes)
            store(y, o, v)
            store(y, o + channels, u)
            s0, t0 = plus(s0, v), fma(v, v, t0)
            s1, t1 = plus(s1, u), fma(u, u, t1)
            i += 2 * columns
            o += 2 * channels
        if pixels % 2:
            v = load(middle, i, lanes)
            store(y, o, v)
            s0, t0 = plus(s0, v), fma(v, v, t0)
        store(total, c, plus(s0, s1))
        store(total, columns + c, plus(t0, t1))


@compiled
def _gradient_of_y(later: Any, b: int, y: Any, first: int, wide: int, sizes: Any, lanes: Any) -> None:
    """Block b of the inside of wide = a_b g_b + b_b y_b + c_b, for the image that begins at entry `first`."""
    batch, height, width, channels, of_three, of_one = sizes
    columns, all_before = of_three + of_one, b * batch * height * width * channels
    g_at, of_g, of_y, of_all = later
    for c in range(0, channels, len(lanes)):
        k = b * channels + c
        a, factor, constant = load(of_g, k, lanes), load(of_y, k, lanes), load(of_all, k, lanes)
        for h in range(height):
            o = ((h + 1) * (width + 2) + 1) * columns + k
            begin = first + h * width * channels + c
            for i in range(begin, begin + width * channels, channels):
                rest = fma(factor, load(y, all_before + i, lanes), constant)
                store(wide, o, fma(a, load(g_at[b], i, lanes), rest))
                o += columns


@compiled
def _mask(padded: int, g: Any, out: Any, first: int, sizes: Any, lanes: Any) -> None:
    """out[p] = g[p] where the inside of padded is positive, elsewhere 0."""
    _, height, width, channels, _, _ = sizes
    for h in range(height):
        o = ((h + 1) * (width + 2) + 1) * channels
        for i in range(h * width * channels, (h + 1) * width * channels, len(lanes)):
            store(out, first + i, where_positive(load(padded, o, lanes), load(g, i, lanes)))
            o += len(lanes)


@compiled
def _add_itself(linear: Any, out: Any, first: int, count: int, lanes: Any) -> None:
    """out += sum_j factor_j x_j, for `count` numbers."""
    for j in range(len(linear[0])):
        if linear[1][j] != 0:
            factor = spread(linear[1], j, lanes)
            for i in range(first, first + count, len(lanes)):
                store(out, i, fma(factor, load(linear[0][j], i, lanes), load(out, i, lanes)))


@compiled
def _add_sum(g: Any, first: int, pixels: int, channels: int, total: Any, at: int, lanes: Any) -> None:
    """total[at] += sum_p g[p], where g begins at entry `first`."""
    s0, s1, i = load(total, at, lanes), zero(lanes), first
    for _ in range(pixels // 2):
        s0, s1 = plus(s0, load(g, i, lanes)), plus(s1, load(g, i + channels, lanes))
        i += 2 * channels
    if pixels % 2:
        s0 = plus(s0, load(g, i, lanes))
    store(total, at, plus(s0, s1))


@compiled
def _combined(x: Any, factors: Any, first: int, padded: int, sizes: Any, lanes: Any) -> None:
    """The inside of padded = sum_j factor_j x_j, where x are addresses, for the image that begins at entry `first`."""
    _, height, width, channels, _, _ = sizes
    for j in range(len(x)):
        factor = spread(factors, j, lanes)
        for h in range(height):
            o = ((h + 1) * (width + 2) + 1) * channels
            for i in range(first + h * width * channels, first + (h + 1) * width * channels, len(lanes)):
                before = load(padded, o, lanes) if j else zero(lanes)
                store(padded, o, fma(factor, load(x[j], i, lanes), before))
                o += len(lanes)


@compiled
def _share(padded: int, shares: Any, sizes: Any, lanes: Any) -> None:
    """The inside of padded[p] times shares[p]."""
    _, height, width, channels, _, _ = sizes
    for h in range(height):
        o = ((h + 1) * (width + 2) + 1) * channels
        for w in range(width):
            share = spread(shares, h * width + w, lanes)
            for _ in range(0, channels, len(lanes)):
                store(padded, o, fma(share, load(padded, o, lanes), zero(lanes)))
                o += len(lanes)


@compiled
def _sums_of_nine(padded: int, shares: Any, more: bool, out: Any, first: int, sizes: Any, lanes: Any) -> None:
    """out[p] = shares[p] times the sum of the nine numbers around p; added to what is there if `more`."""
    _, height, width, channels, _, _ = sizes
    row = (width + 2) * channels
    for c in range(0, channels, len(lanes)):
        o = first + c
        for h in range(height):
            i = h * row + c
            left, middle = _three(padded, i, row, lanes), _three(padded, i + channels, row, lanes)
            for w in range(width):
                i += channels
                right = _three(padded, i + channels, row, lanes)
                before = load(out, o, lanes) if more else zero(lanes)
                nine = plus(plus(left, middle), right)
                store(out, o, fma(spread(shares, h * width + w, lanes), nine, before))
                left, middle = middle, right
                o += channels


@compiled
def _three(x: Any, i: int, row: int, lanes: Any) -> Any:
    """The sum of three numbers of one column."""
    return plus(plus(load(x, i, lanes), load(x, i + row, lanes)), load(x, i + 2 * row, lanes))
