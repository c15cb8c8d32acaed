"""ReLU, 1x1 convolution and affine batch norm as one autograd function on the CPU kernels of `dnas.kernels`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.kernels.cpu import CpuKernels
from dnas.kernels.products import Product
from dnas.space.kernel_affine import affine_norm, masked_gradient_sums_of, masked_sum_of


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
            return None, *_differentiable_gradients(saved, ctx.eps, g, needs)
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


def _differentiable_gradients(
    saved: Sequence[Tensor], eps: float, g: Tensor, needs: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients as functions of the saved tensors and of g, for second derivatives."""
    x, matrix, weight, bias = tensors = [tensor.view_as(tensor) for tensor in saved]
    result = F.batch_norm(F.conv2d(F.relu(x), matrix), None, None, weight, bias, training=True, eps=eps)
    wanted = [tensor for tensor, need in zip(tensors, needs, strict=True) if need]
    found = iter(torch.autograd.grad(result, wanted, g, create_graph=True))
    return [next(found) if need else None for need in needs]
