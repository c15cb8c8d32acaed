"""Gradients of an autograd function of our own that can be differentiated again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def differentiable_gradients(
    plain: Callable[..., Tensor], saved: Sequence[Tensor], g: Tensor, needs: Sequence[bool]
) -> Iterator[Tensor | None]:
    """The gradients of `plain(*saved)` as functions of the saved tensors and of g, for second derivatives.

    Args:
        plain: the function's result, in operations that can be differentiated any number of times.
        saved: its inputs.
        g: gradient of the result.
        needs: which inputs need a gradient.
    """
    # Views, so that no input is upstream of another (a state and its own ReLU).
    inputs = [tensor.view_as(tensor) for tensor in saved]
    wanted = [tensor for tensor, need in zip(inputs, needs, strict=True) if need]
    result = plain(*inputs)
    if not result.requires_grad:  # a hard sample in which nothing enters the result
        return (None for _ in needs)
    # One in which a state feeds nothing leaves inputs unused.
    found = iter(torch.autograd.grad(result, wanted, g, create_graph=True, allow_unused=True))
    return (next(found) if need else None for need in needs)
