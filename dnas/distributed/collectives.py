"""The two differentiable operations between tensors that are the same on all ranks and tensors of each rank's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Reduce = Callable[[Tensor], None]  # sums a tensor over ranks, in place


class Spread(torch.autograd.Function):
    """The identity, from one value on all ranks to a copy for each; the derivative is `AddUp`.

    As the operators f and g of Megatron-LM (Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3).
    """

    @staticmethod
    def forward(ctx: Any, reduce: Reduce, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.reduce = reduce
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, *AddUp.apply(ctx.reduce, *gradients)


class AddUp(torch.autograd.Function):
    """The sum over ranks, from a value of each to one on all; the derivative is `Spread`."""

    @staticmethod
    def forward(ctx: Any, reduce: Reduce, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.reduce = reduce
        return tuple(summed(reduce, tensors))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, *Spread.apply(ctx.reduce, *gradients)


def summed(reduce: Reduce, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums over ranks, in one message for each type and device; the arguments stay as they are."""
    found: list[Tensor] = list(tensors)
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(index)
    for indices in kinds.values():
        flat = torch.cat([tensors[index].detach().reshape(-1) for index in indices])
        reduce(flat)
        for index, piece in zip(indices, flat.split([tensors[index].numel() for index in indices]), strict=True):
            found[index] = piece.view(tensors[index].shape)
    return found
