"""The sum of a node whose terms have a factor for each image, as drop-path gives them; and the sums of its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.kernels.compiled import compiled
from dnas.kernels.sums_numba import gradient_sums, weighted_sum


@compiled
def masked_sum(
    begin: int,
    end: int,
    terms: Any,
    factors: Any,
    scale: Any,
    shift: Any,
    out: Any,
    pixels: int,
    channels: int,
    lanes: Any,
) -> None:
    """out[n, p, c] = sum_t factors[t, n] (scale[t, c] y_t[n, p, c] + shift[t, c]), for images `begin` to `end`."""
    own, constant = np.empty(len(terms) * channels, out.dtype), np.empty(channels, out.dtype)
    for n in range(begin, end):
        constant[:] = 0
        for t in range(len(terms)):
            for c in range(channels):
                own[t * channels + c] = factors[t, n] * scale[t, c]
                constant[c] += factors[t, n] * shift[t, c]
        weighted_sum(n * pixels, (n + 1) * pixels, terms, own, constant, out, channels, lanes)


@compiled
def masked_gradient_sums(
    begin: int, end: int, terms: Any, factors: Any, g: Any, pixels: int, channels: int, lanes: Any
) -> Any:
    """Sums over images of factors[t, n] g and of factors[t, n] g y_t, (2, terms, channels), in float64."""
    total = np.zeros((2, len(terms), channels), np.float64)
    for n in range(begin, end):
        own = gradient_sums(n, n + 1, terms, g, pixels, channels, lanes)
        for t in range(len(terms)):
            for c in range(channels):
                total[0, t, c] += factors[t, n] * own[len(terms) * channels + c]
                total[1, t, c] += factors[t, n] * own[t * channels + c]
    return total
