"""ReLU, depthwise and 1x1 convolution of separable operations on a GPU, forward and backward, as three Triton kernels.

With images x, and for each chain k its kernel (size, dilation d, radius r = size // 2, stride s) and matrix W:

    z[p, q, c] = sum over i, j of kernel[c, i, j] max(scale x + shift, 0)[s p + d (i - r), s q + d (j - r), c]
    y[p, q, o] = sum over c of W[o, c] z[p, q, c]

`chains_forward` has all chains of an image's tile in one program: x comes from memory once, z stays in registers, y is
written once. Backward, d_y = a g + b y + c is computed as it is read; `products_backward` gives d_z = d_y W, and d_W =
d_y^T z with z computed again; `depthwise_backward` reads d_z of all chains and writes the gradient of scale x + shift,
and adds up that of the kernels from the same numbers.

Memory is channels-last and without gaps: images (batch, height, width, channels), kernels (channels, size, size). A
program has a tile of pixels, with all channels where there are products; a tap's neighbours overlap those of the tap
before and come from the L1 cache. What is summed over pixels leaves a program as one row of its own, to be added
afterwards, not atomically, so that results repeat bit by bit. Rows and columns outside the images count as 0.

Not yet measured on a GPU: tested in Triton's interpreter on the CPU and compiled for compute capability 8.0 and 9.0.
"""

from __future__ import annotations

import triton
import triton.language as tl

# N images; H, W rows and columns of x; P, Q those of y. Columns of a kernel are unrolled, rows are not: with all 25
# taps unrolled the compiler loads them all first and runs out of registers.


@triton.jit
def _positions(tile, N, P, Q, PIXELS: tl.constexpr):
    """Image, row and column of each pixel of a tile, (pixels, 1), and whether it exists."""
    pixel = (tile * PIXELS + tl.arange(0, PIXELS))[:, None]
    return (pixel // (P * Q)).to(tl.int64), pixel // Q % P, pixel % Q, pixel < N * P * Q


@triton.jit
def _per_channel(numbers, c, C: tl.constexpr, like):
    """Numbers of each channel in the type of the images, (1, channels)."""
    return tl.load(numbers + c, c < C, 0).to(like.dtype.element_ty)


@triton.jit
def _positive(value, inside):
    """max(value, 0), and 0 outside; NaN stays so."""
    return tl.where(inside, tl.where(value <= 0, 0, value), 0)


@triton.jit
def _depthwise(
    x, scale, shift, kernel, n, p, q, exists, c, H, W,
    C: tl.constexpr, NORM: tl.constexpr, SIZE: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """z of a tile of pixels."""
    z = tl.zeros((PIXELS, CHANNELS), x.dtype.element_ty)
    center = x + ((n * H + p * STRIDE) * W + q * STRIDE) * C + c
    for i in range(SIZE):
        for j in tl.static_range(SIZE):  # pyright: ignore[reportGeneralTypeIssues]
            down = DILATION * (i - SIZE // 2)
            right = DILATION * (j - SIZE // 2)
            row = p * STRIDE + down
            column = q * STRIDE + right
            inside = exists & (row >= 0) & (row < H) & (column >= 0) & (column < W) & (c < C)
            value = tl.load(center + (down * W + right) * C, inside, 0)
            if NORM:
                value = value * scale + shift
            z += _positive(value, inside) * tl.load(kernel + (c * SIZE + i) * SIZE + j, c < C, 0)
    return z


@triton.jit
def chains_forward(
    y, sums, x, scale, shift, kernels, matrices, N, H, W, P, Q,
    C: tl.constexpr, NORM: tl.constexpr, SIZES: tl.constexpr, DILATIONS: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y of all chains, and sums[program, k] = the sums of y and of y y, (2, channels).

    `y`, `kernels` and `matrices` are tuples with one entry for each chain, as are `SIZES` and `DILATIONS`.
    """
    n, p, q, exists = _positions(tl.program_id(0), N, P, Q, PIXELS)
    c = tl.arange(0, CHANNELS)[None, :]
    row_of_w = tl.arange(0, CHANNELS)[:, None]
    if NORM:
        scale = _per_channel(scale, c, C, x)
        shift = _per_channel(shift, c, C, x)
    for k in tl.static_range(len(kernels)):  # pyright: ignore[reportGeneralTypeIssues]
        z = _depthwise(
            x, scale, shift, kernels[k], n, p, q, exists, c, H, W,
            C, NORM, SIZES[k], DILATIONS[k], STRIDE, PIXELS, CHANNELS,
        )  # fmt: skip
        turned = tl.load(matrices[k] + c * C + row_of_w, (c < C) & (row_of_w < C), 0)
        own = tl.dot(z, turned, input_precision=PRECISION, out_dtype=z.dtype)
        tl.store(y[k] + ((n * P + p) * Q + q) * C + c, own, exists & (c < C))
        row = sums + (tl.program_id(0) * len(kernels) + k) * 2 * C + c
        tl.store(row, tl.sum(own, axis=0, keep_dims=True), c < C)
        tl.store(row + C, tl.sum(own * own, axis=0, keep_dims=True), c < C)


@triton.jit
def products_backward(
    d_z, d_matrix, x, scale, shift, kernel, matrix, g, y, a, b, constant, N, H, W, P, Q,
    C: tl.constexpr, NORM: tl.constexpr, SIZE: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, PRECISION: tl.constexpr, WEIGHTS: tl.constexpr,
):  # fmt: skip
    """d_z of one chain, and with `WEIGHTS` d_matrix[program], (channels, channels)."""
    c = tl.arange(0, CHANNELS)[None, :]
    row_of_w = tl.arange(0, CHANNELS)[:, None]
    if NORM:
        scale = _per_channel(scale, c, C, x)
        shift = _per_channel(shift, c, C, x)
    of_g = _per_channel(a, c, C, x)
    of_y = _per_channel(b, c, C, x)
    of_all = _per_channel(constant, c, C, x)
    of_matrix = (row_of_w < C) & (c < C)
    w = tl.load(matrix + row_of_w * C + c, of_matrix, 0)
    total = tl.zeros((CHANNELS, CHANNELS), x.dtype.element_ty)
    for tile in range(tl.program_id(0), (N * P * Q + PIXELS - 1) // PIXELS, tl.num_programs(0)):
        n, p, q, exists = _positions(tile, N, P, Q, PIXELS)
        at = ((n * P + p) * Q + q) * C + c
        here = exists & (c < C)
        d_y = of_g * tl.load(g + at, here, 0) + (of_y * tl.load(y + at, here, 0) + of_all)
        d_y = tl.where(here, d_y, 0)
        tl.store(d_z + at, tl.dot(d_y, w, input_precision=PRECISION, out_dtype=d_y.dtype), here)
        if WEIGHTS:
            z = _depthwise(
                x, scale, shift, kernel, n, p, q, exists, c, H, W,
                C, NORM, SIZE, DILATION, STRIDE, PIXELS, CHANNELS,
            )  # fmt: skip
            total = tl.dot(tl.trans(d_y), z, total, input_precision=PRECISION, out_dtype=d_y.dtype)
    if WEIGHTS:
        tl.store(d_matrix + (tl.program_id(0) * C + row_of_w) * C + c, total, of_matrix)


@triton.jit
def depthwise_backward(
    d_x, d_kernels, sums, x, scale, shift, kernels, d_z, added, factor, N, H, W, P, Q,
    C: tl.constexpr, NORM: tl.constexpr, SIZES: tl.constexpr, DILATIONS: tl.constexpr, STRIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr, ADDED: tl.constexpr, WEIGHTS: tl.constexpr,
):  # fmt: skip
    """d_x, the gradient of scale x + shift through all chains, and factor * added with `ADDED`.

    With `WEIGHTS` also d_kernels[tile], the kernels' gradients one after another, each (size, size, channels); with
    `NORM` also sums[tile], those of d_x and of d_x times x, (2, channels). Here a program has only `CHANNELS` channels:
    the more pixels, the fewer rows of sums.
    """
    n, h, w, exists = _positions(tl.program_id(0), N, H, W, PIXELS)
    c = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    here = exists & (c < C)
    at = ((n * H + h) * W + w) * C + c
    own = tl.load(x + at, here, 0)
    value = own
    if NORM:
        value = own * _per_channel(scale, c, C, x) + _per_channel(shift, c, C, x)
    positive = _positive(value, here)
    taps = 0
    for k in tl.static_range(len(kernels)):  # pyright: ignore[reportGeneralTypeIssues]
        taps += SIZES[k] * SIZES[k]
    row_of_kernels = d_kernels + tl.program_id(0) * taps * C + c
    total = tl.zeros((PIXELS, CHANNELS), x.dtype.element_ty)
    for k in tl.static_range(len(kernels)):  # pyright: ignore[reportGeneralTypeIssues]
        center = d_z[k] + ((n * P + h // STRIDE) * Q + w // STRIDE) * C + c
        for i in range(SIZES[k]):
            for j in tl.static_range(SIZES[k]):  # pyright: ignore[reportGeneralTypeIssues]
                # This pixel is tap (i, j) of the result's pixel p where h = s p + d (i - r): where the remainders are
                # equal, p = h // s - d (i - r) // s. `size` times the stride keep what is divided from being below 0.
                down = DILATIONS[k] * (i - SIZES[k] // 2 + SIZES[k] * STRIDE)
                right = DILATIONS[k] * (j - SIZES[k] // 2 + SIZES[k] * STRIDE)
                up = down // STRIDE - DILATIONS[k] * SIZES[k]
                left = right // STRIDE - DILATIONS[k] * SIZES[k]
                p = h // STRIDE - up
                q = w // STRIDE - left
                inside = here & (h % STRIDE == down % STRIDE) & (w % STRIDE == right % STRIDE)
                inside = inside & (p >= 0) & (p < P) & (q >= 0) & (q < Q)
                gradient = tl.load(center - (up * Q + left) * C, inside, 0)
                total += gradient * tl.load(kernels[k] + (c * SIZES[k] + i) * SIZES[k] + j, c < C, 0)
                if WEIGHTS:
                    of_tap = tl.sum(gradient * positive, axis=0, keep_dims=True)
                    tl.store(row_of_kernels + (i * SIZES[k] + j) * C, of_tap, c < C)
        row_of_kernels += SIZES[k] * SIZES[k] * C
    total = tl.where(value > 0, total, 0)
    if ADDED:
        total += tl.load(factor).to(x.dtype.element_ty) * tl.load(added + at, here, 0)
    tl.store(d_x + at, total, here)
    if NORM:
        row = sums + tl.program_id(0) * 2 * C + c
        tl.store(row, tl.sum(total, axis=0, keep_dims=True), c < C)
        tl.store(row + C, tl.sum(total * own, axis=0, keep_dims=True), c < C)
