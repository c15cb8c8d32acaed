"""Batch norms of found networks for the CPU kernels: when they can be used, their statistics, and the sum of a node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dnas.distributed.ranks import ranks
from dnas.kernels.affine import AffineNorm
from dnas.kernels.chains import Norm
from dnas.kernels.choice import kernels_on
from dnas.kernels.images import Array, address, in_parts, lanes, summed


def usable(x: Tensor, norms: Sequence[nn.BatchNorm2d]) -> bool:
    """Whether kernels can compute on x now, followed by these batch norms, which must be in train mode.

    Whoever records or counts operations gets the usual ones: the compiler, an export, a transform of `torch.func`, or a
    mode that sees each operation.
    """
    fits = type(x) is Tensor and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.ndim == 4
    # Of a single pixel, which stride 2 may leave, there is no variance.
    if not fits or x.shape[1] % 4 or len(x) * ((x.shape[2] + 1) // 2) * ((x.shape[3] + 1) // 2) < 2:
        return False
    if ranks().size > 1 or kernels_on(x.device) is None:
        return False
    if torch.is_autocast_enabled("cpu") or _is_watched():
        return False
    return all(norm.training and norm.affine and norm.track_running_stats for norm in norms) and all(
        norm.weight.dtype == x.dtype for norm in norms
    )


def _is_watched() -> bool:
    """Whether somebody looks at each of PyTorch's operations."""
    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return is_traced or torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0


def affine_norm(module: nn.BatchNorm2d, total: Array, count: int) -> AffineNorm:
    """The batch norm of y over `count` pixels, which moves the running statistics, as the module does in train mode.

    Args:
        module: a batch norm for which kernels are `usable`.
        total: sums of y and of y y, (1, 2, channels).
    """
    assert module.running_mean is not None and module.running_var is not None
    assert module.num_batches_tracked is not None
    weight, bias = (parameter.detach().numpy().astype(np.float64) for parameter in (module.weight, module.bias))
    found = AffineNorm(Norm.of(total, count, module.eps), weight, bias)
    module.num_batches_tracked += 1
    momentum = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
    # In the memory of the buffers: PyTorch's operations on them took a tenth of a node's time.
    mean, variance = module.running_mean.numpy(), module.running_var.numpy()
    mean += momentum * (found.norm.mean[0] - mean)
    variance += momentum * (found.unbiased_variance(module.eps) - variance)
    return found


def masked_sum_of(
    terms: Sequence[Array], factors: Array, affine: Sequence[tuple[Array, Array]], sizes: tuple[int, int, int, int]
) -> Array:
    """sum_t factors[t, n] (a_t y_t + b_t) for the images n, with a and b of each term (channels,).

    Args:
        sizes: number of images, height, width, channels.
    """
    from dnas.kernels.masked_sums_numba import masked_sum

    batch, height, width, channels = sizes
    places, result = np.array([address(term) for term in terms]), torch.empty_like(torch.from_numpy(terms[0])).numpy()
    scale, shift = (np.stack([pair[i] for pair in affine]).astype(result.dtype) for i in range(2))
    args = (places, factors, scale, shift, result, height * width, channels, lanes(channels, result.itemsize))
    in_parts(lambda begin, end: masked_sum(begin, end, *args), batch)
    return result


def masked_gradient_sums_of(
    g: Array, terms: Sequence[Array], factors: Array, sizes: tuple[int, int, int, int]
) -> tuple[Array, Array]:
    """Sums over images and pixels of factors[t, n] g and of factors[t, n] g y_t, each (terms, channels)."""
    from dnas.kernels.masked_sums_numba import masked_gradient_sums

    batch, height, width, channels = sizes
    places = np.array([address(term) for term in terms])
    args = (places, factors, g, height * width, channels, lanes(channels, g.itemsize))
    of_g, of_g_y = summed(in_parts(lambda begin, end: masked_gradient_sums(begin, end, *args), batch))
    return of_g, of_g_y
