"""The weighted sum of all operations of a node, with their batch norms, in one pass; and the sums of its gradient.

Terms are given by the addresses of their arrays, each (pixels, channels) over all images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.kernels.compiled import compiled
from dnas.kernels.vectors_numba import fma, load, plus, store, zero

# Pixels that are summed over all terms before the next ones, so that the sum stays in the first cache.
_PIXELS = 64


@compiled
def weighted_sum(begin: int, end: int, terms: Any, scale: Any, shift: Any, out: Any, channels: int, lanes: Any) -> None:
    """out[p, c] = shift[c] + sum_t scale[t, c] y_t[p, c], for pixels `begin` to `end`."""
    for first in range(begin, end, _PIXELS):
        last = min(first + _PIXELS, end)
        for c in range(0, channels, len(lanes)):
            constant = load(shift, c, lanes)
            for p in range(first, last):
                store(out, p * channels + c, constant)
        for t in range(0, len(terms) - 1, 2):
            for c in range(0, channels, len(lanes)):
                a, b = load(scale, t * channels + c, lanes), load(scale, (t + 1) * channels + c, lanes)
                for i in range(first * channels + c, last * channels, channels):
                    one = fma(a, load(terms[t], i, lanes), load(out, i, lanes))
                    store(out, i, fma(b, load(terms[t + 1], i, lanes), one))
        if len(terms) % 2:
            t = len(terms) - 1
            for c in range(0, channels, len(lanes)):
                a = load(scale, t * channels + c, lanes)
                for i in range(first * channels + c, last * channels, channels):
                    store(out, i, fma(a, load(terms[t], i, lanes), load(out, i, lanes)))


@compiled
def gradient_sums(begin: int, end: int, terms: Any, g: Any, pixels: int, channels: int, lanes: Any) -> Any:
    """total[t, c] = sum_p g[p, c] y_t[p, c], and in the last row sum_p g[p, c], over images `begin` to `end`.

    Args:
        pixels: number of pixels of an image; sums of one image are in the type of g, those over images in float64.
    """
    count = len(terms)
    part, total = np.empty((count + 1) * channels, g.dtype), np.zeros((count + 1) * channels, np.float64)
    for n in range(begin, end):
        part[:] = 0
        for first in range(n * pixels, (n + 1) * pixels, _PIXELS):
            last = min(first + _PIXELS, (n + 1) * pixels)
            for c in range(0, channels, len(lanes)):
                s = load(part, count * channels + c, lanes)
                for p in range(first, last):
                    s = plus(s, load(g, p * channels + c, lanes))
                store(part, count * channels + c, s)
                for t in range(count):
                    add_product(g, terms[t], first, last, channels, c, part, t * channels + c, lanes)
        total += part
    return total


@compiled
def add_product(
    g: Any, term: int, first: int, last: int, channels: int, c: int, total: Any, at: int, lanes: Any
) -> None:
    """total[at] += sum_p g[p, c] y[p, c], with four sums side by side."""
    a0 = load(total, at, lanes)
    a1 = a2 = a3 = zero(lanes)
    p = first
    while p + 4 <= last:
        i = p * channels + c
        a0 = fma(load(g, i, lanes), load(term, i, lanes), a0)
        a1 = fma(load(g, i + channels, lanes), load(term, i + channels, lanes), a1)
        a2 = fma(load(g, i + 2 * channels, lanes), load(term, i + 2 * channels, lanes), a2)
        a3 = fma(load(g, i + 3 * channels, lanes), load(term, i + 3 * channels, lanes), a3)
        p += 4
    while p < last:
        i = p * channels + c
        a0 = fma(load(g, i, lanes), load(term, i, lanes), a0)
        p += 1
    store(total, at, plus(plus(a0, a1), plus(a2, a3)))
