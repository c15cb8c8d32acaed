"""ReLU, 1x1 convolution and affine batch norm as one autograd function on the CPU kernels of `dnas.kernels`."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.kernels.cpu import CpuKernels
from dnas.kernels.products import Product
from dnas.space.kernel_affine import affine_norm, masked_gradient_sums_of, masked_sum_of
from dnas.space.second_derivatives import differentiable_gradients


class KernelPreprocess(torch.autograd.Function):
    """`apply(norm, x, matrix, weight, bias)`: BN(matrix max(x, 0)); y, the input of batch norm, is kept."""

    @staticmethod
    def forward(ctx: Any, norm: nn.BatchNorm2d, x: Tensor, matrix: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kernels = CpuKernels()
        images = kernels.images(x.detach().contiguous(memory_format=torch.channels_last))
        batch, inner, height, width = x.shape
        turned = np.ascontiguousarray(matrix.detach().flatten(1).t().numpy())
        product = Product(images, (batch, height * width, inner, len(matrix)), turned)
        y, total = product.forward()
        found = affine_norm(norm, total, batch * height * width)
        factors, sizes = np.ones((1, batch), y.dtype), (batch, height, width, len(matrix))
        ctx.eps, ctx.kept = norm.eps, (kernels, product, y, found, factors, sizes)
        ctx.save_for_backward(x, matrix, weight, bias)
        return kernels.tensor(masked_sum_of([y], factors, [found.scale_and_shift], sizes), sizes)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        needs, saved = ctx.needs_input_grad[1:], ctx.saved_tensors  # refused if changed meanwhile
        if torch.is_grad_enabled():
            return None, *differentiable_gradients(partial(_plain, ctx.eps), saved, g, needs)
        kernels, product, y, norm, factors, sizes = ctx.kept
        images = kernels.images(g.contiguous(memory_format=torch.channels_last))
        (of_g,), (of_g_y,) = masked_gradient_sums_of(images, [y], factors, sizes)
        of_y, d_weight, d_bias = norm.gradient(of_g, of_g_y)
        d_x, d_matrix = product.backward(y, images, of_y, (needs[0], needs[1]))
        found = (
            kernels.tensor(d_x, (*sizes[:3], product.sizes[2])) if needs[0] else None,
            torch.from_numpy(d_matrix).t()[:, :, None, None],
            *(torch.from_numpy(one.astype(y.dtype)) for one in (d_weight, d_bias)),
        )
        return None, *(one if need else None for one, need in zip(found, needs, strict=True))


def _plain(eps: float, x: Tensor, matrix: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The result of `KernelPreprocess` in operations that can be differentiated any number of times."""
    return F.batch_norm(F.conv2d(F.relu(x), matrix), None, None, weight, bias, training=True, eps=eps)
