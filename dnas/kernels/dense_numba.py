"""Dense convolutions of stride 1 of one image, and their weights' gradients, for images that stay in the cache.

Images and weights are given by their addresses. An image is a part of a long array, channels last: entry (h, w, k) at
`first + h * row + w * step + k`. Padding lies around it, so that taps may be outside. Results have `columns` numbers
per pixel: the channels of all convolutions that read the same image. Products have eight sums side by side, since a
multiply-add is ready only four cycles after it began: four pixels and two vectors of columns, or where one vector is
left, two rows of four pixels. Where the width or the height leaves a rest, some pixels are computed twice.
"""

from __future__ import annotations

from typing import Any

from dnas.kernels.compiled import compiled
from dnas.kernels.vectors_numba import fma_spread, load, load_all, store_all, zeros

# Constants of a kernel are lengths of tuples, as in `convolutions_numba`.
_FOUR, _EIGHT = (0,) * 4, (0,) * 8


@compiled
def dense(
    x: int, image: Any, weight: int, before: int, more: bool, out: int, place: Any, sizes: Any, lanes: Any
) -> None:
    """out[h, w, c] = before[h, w, c] + sum_ijk x[h + i, w + j, k] weight[i, j, k, c]; `before` only if `more`.

    Args:
        image: where the first tap of the first pixel lies in x, numbers between rows and between pixels.
        place: where `out` begins, and its numbers between pixels; `before` begins at 0 and has as many.
        sizes: height, width (4 or more), kernel size, channels k and columns c.
        lanes: the longest vector, and one that divides the rest of the columns.
    """
    columns, c = sizes[4], 0
    while c + 2 * len(lanes[0]) <= columns:
        _two_vectors(x, image, weight, before, more, out, place, sizes, c, lanes[0])
        c += 2 * len(lanes[0])
    while c + len(lanes[0]) <= columns:
        _one_vector(x, image, weight, before, more, out, place, sizes, c, lanes[0])
        c += len(lanes[0])
    while c < columns:
        _one_vector(x, image, weight, before, more, out, place, sizes, c, lanes[1])
        c += len(lanes[1])


@compiled
def _two_vectors(
    x: int, image: Any, weight: int, before: int, more: bool, out: int, place: Any, sizes: Any, c: int, lanes: Any
) -> None:
    """Columns c to c + 2 lanes of all pixels, four pixels at a time."""
    height, width, size, channels, columns = sizes
    first, row, step = image
    for h in range(height):
        for block in range((width + 3) // 4):
            w = min(4 * block, width - 4)
            o = (h * width + w) * place[1] + c
            left = load_all(before, o, place[1], _FOUR, lanes) if more else zeros(_FOUR, lanes)
            right = load_all(before, o + len(lanes), place[1], _FOUR, lanes) if more else zeros(_FOUR, lanes)
            m = c
            for i in range(size):
                tap = first + (h + i) * row + w * step
                for _ in range(size):
                    for k in range(tap, tap + channels):
                        left = fma_spread(load(weight, m, lanes), x, k, step, left)
                        right = fma_spread(load(weight, m + len(lanes), lanes), x, k, step, right)
                        m += columns
                    tap += step
            store_all(out, place[0] + o, place[1], left)
            store_all(out, place[0] + o + len(lanes), place[1], right)


@compiled
def _one_vector(
    x: int, image: Any, weight: int, before: int, more: bool, out: int, place: Any, sizes: Any, c: int, lanes: Any
) -> None:
    """Columns c to c + lanes of all pixels, four pixels of two rows at a time."""
    height, width, size, channels, columns = sizes
    first, row, step = image
    for h in range(0, height, 2):
        below = 1 if h + 1 < height else 0
        for block in range((width + 3) // 4):
            w = min(4 * block, width - 4)
            o = (h * width + w) * place[1] + c
            p = o + below * width * place[1]
            top = load_all(before, o, place[1], _FOUR, lanes) if more else zeros(_FOUR, lanes)
            bottom = load_all(before, p, place[1], _FOUR, lanes) if more else zeros(_FOUR, lanes)
            m = c
            for i in range(size):
                tap = first + (h + i) * row + w * step
                for _ in range(size):
                    for k in range(tap, tap + channels):
                        v = load(weight, m, lanes)
                        top = fma_spread(v, x, k, step, top)
                        bottom = fma_spread(v, x, k + below * row, step, bottom)
                        m += columns
                    tap += step
            store_all(out, place[0] + o, place[1], top)
            store_all(out, place[0] + p, place[1], bottom)


@compiled
def dense_weight(x: int, image: Any, g: int, of_g: Any, out: int, sizes: Any, lanes: Any) -> None:
    """out[i, j, k, c] += sum_hw x[h + i, w + j, k] g[h, w, c].

    Args:
        image: as in `dense`.
        of_g: where the first pixel of g lies, numbers between rows and between pixels.
        sizes, lanes: as in `dense`; channels k are a multiple of 4.
    """
    _, _, size, channels, columns = sizes
    for i in range(size):
        for j in range(size):
            first, to, c = image[0] + i * image[1] + j * image[2], (i * size + j) * channels * columns, 0
            while c + 2 * len(lanes[0]) <= columns:
                for k in range(0, channels, 4):
                    at = to + k * columns + c
                    _four_by_two(x, first + k, image, g, of_g[0] + c, of_g, out, at, sizes, lanes[0])
                c += 2 * len(lanes[0])
            while c + len(lanes[0]) <= columns:
                _by_one(x, first, image, g, of_g[0] + c, of_g, out, to + c, sizes, lanes[0])
                c += len(lanes[0])
            while c < columns:
                _by_one(x, first, image, g, of_g[0] + c, of_g, out, to + c, sizes, lanes[1])
                c += len(lanes[1])


@compiled
def _by_one(
    x: int, first: int, image: Any, g: int, g_first: int, of_g: Any, out: int, to: int, sizes: Any, lanes: Any
) -> None:
    """All channels and one vector of columns of one tap, eight channels at a time, or four."""
    channels, columns = sizes[3], sizes[4]
    for k in range(0, channels - 7, 8):
        _some_by_one(x, first + k, image, g, g_first, of_g, out, to + k * columns, sizes, _EIGHT, lanes)
    if channels % 8:
        k = channels - 4
        _some_by_one(x, first + k, image, g, g_first, of_g, out, to + k * columns, sizes, _FOUR, lanes)


@compiled
def _four_by_two(
    x: int, first: int, image: Any, g: int, g_first: int, of_g: Any, out: int, to: int, sizes: Any, lanes: Any
) -> None:
    """Four channels and two vectors of columns of one tap, over all pixels."""
    columns = sizes[4]
    left = load_all(out, to, columns, _FOUR, lanes)
    right = load_all(out, to + len(lanes), columns, _FOUR, lanes)
    for h in range(sizes[0]):
        k, q = first + h * image[1], g_first + h * of_g[1]
        for _ in range(sizes[1]):
            left = fma_spread(load(g, q, lanes), x, k, 1, left)
            right = fma_spread(load(g, q + len(lanes), lanes), x, k, 1, right)
            k += image[2]
            q += of_g[2]
    store_all(out, to, columns, left)
    store_all(out, to + len(lanes), columns, right)


@compiled
def _some_by_one(
    x: int,
    first: int,
    image: Any,
    g: int,
    g_first: int,
    of_g: Any,
    out: int,
    to: int,
    sizes: Any,
    count: Any,
    lanes: Any,
) -> None:
    """As many channels as `count` is long and one vector of columns of one tap, over all pixels."""
    columns = sizes[4]
    sums = load_all(out, to, columns, count, lanes)
    for h in range(sizes[0]):
        k, q = first + h * image[1], g_first + h * of_g[1]
        for _ in range(sizes[1]):
            sums = fma_spread(load(g, q, lanes), x, k, 1, sums)
            k += image[2]
            q += of_g[2]
    store_all(out, to, columns, sums)
