"""The weighted sum of all operations of a node, with their batch norms, in one pass; and the sums of its gradient.

`terms` is a tuple with one entry for each, images (pixels, channels) without gaps. Not yet measured on a GPU, as
`dnas.kernels.chains_triton`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def weighted_sum(
    out, terms, scale, shift, num_pixels, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """out[p, c] = shift[c] + sum_t scale[t, c] y_t[p, c]."""
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)).to(tl.int64)[:, None]
    c = tl.arange(0, CHANNELS)[None, :]
    here = (pixel < num_pixels) & (c < C)
    dtype = out.dtype.element_ty
    total = tl.zeros((PIXELS, CHANNELS), dtype) + tl.load(shift + c, c < C, 0).to(dtype)
    for t in tl.static_range(len(terms)):  # pyright: ignore[reportGeneralTypeIssues]
        total += tl.load(scale + t * C + c, c < C, 0).to(dtype) * tl.load(terms[t] + pixel * C + c, here, 0)
    tl.store(out + pixel * C + c, total, here)


@triton.jit
def gradient_sums(
    sums, terms, g, num_pixels, C: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """sums[program, t, c] = sum_p g[p, c] y_t[p, c] over the program's pixels, and in the last row sum_p g[p, c]."""
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)).to(tl.int64)[:, None]
    c = tl.arange(0, CHANNELS)[None, :]
    here = (pixel < num_pixels) & (c < C)
    at = pixel * C + c
    gradient = tl.load(g + at, here, 0)
    row = sums + tl.program_id(0) * (len(terms) + 1) * C + c
    for t in tl.static_range(len(terms)):  # pyright: ignore[reportGeneralTypeIssues]
        product = gradient * tl.load(terms[t] + at, here, 0)
        tl.store(row + t * C, tl.sum(product, axis=0, keep_dims=True), c < C)
    tl.store(row + len(terms) * C, tl.sum(gradient, axis=0, keep_dims=True), c < C)
