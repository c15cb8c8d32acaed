"""A copy of a model at its full size in which channels have no effect: what a smaller copy must equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dnas.shrinking.blocks import Block
from dnas.shrinking.channels import Field
from dnas.shrinking.groups import Selection, Structure
from dnas.shrinking.kernels import inside
from dnas.shrinking.slicing import products_in_place, replace_module
from dnas.shrinking.trace import copied


def masked(model: nn.Module, structure: Structure, selection: Selection) -> nn.Module:
    """A copy, in eval mode, in which the input columns that belong to channels that go are zero.

    Masking where channels are consumed is exact whatever stands between: biases of norms, sigmoid(0), pooling, padding.
    Layer norms take their statistics over the channels that stay. Groups of a group norm and attention heads go whole,
    so nothing else is needed for them.

    Args:
        model: the one that was traced; it is not changed.
        structure: its groups.
        selection: what stays of them.
    """
    copy = copied(model)
    products_in_place(copy, selection)
    removed = structure.removed(selection.kept)
    consumed = np.unique(np.concatenate([labels.reshape(-1) for labels in structure.trace.book.consumers] or [removed]))
    tensors: dict[str, Tensor] = {**dict(copy.named_parameters()), **dict(copy.named_buffers())}
    for name, tensor in tensors.items():
        for labels in structure.trace.labels[name]:
            gone = np.isin(labels, consumed) & ~structure.stays(labels, removed)
            if gone.any():
                with torch.no_grad():
                    tensor.masked_fill_(torch.from_numpy(gone).to(tensor.device), 0)
    for name, stays in _normalised(structure, removed).items():
        norm = copy.get_submodule(name)
        assert isinstance(norm, nn.LayerNorm)
        replace_module(copy, name, _LayerNormOfKept(norm, stays))
    for kernel in structure.kernels:
        weight = tensors[f"{kernel.module}.weight"]
        stays = inside(kernel, selection.kernels.get(kernel.name, kernel.largest))
        with torch.no_grad():
            weight.masked_fill_(~stays.to(weight.device), 0)
    for block in structure.blocks:
        if block.name in selection.skipped:
            replace_module(copy, block.name, _Without(block))
    return copy


def _normalised(structure: Structure, removed: Field) -> dict[str, Field]:
    """For each layer norm that loses channels, which stay."""
    found = {}
    for size in structure.trace.book.sizes:
        if size.attribute == "normalized_shape":
            stays = structure.stays(size.labels, removed).reshape(-1)
            if not stays.all():
                found[size.module] = stays
    return found


class _Without(nn.Module):
    """A block's input plus nothing, through its activation."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        return self.block.without(x)


class _LayerNormOfKept(nn.Module):
    """A layer norm whose mean and variance are over the channels that stay."""

    def __init__(self, norm: nn.LayerNorm, stays: Field) -> None:
        super().__init__()
        self.norm = norm
        self.kept = torch.from_numpy(np.flatnonzero(stays))

    def forward(self, x: Tensor) -> Tensor:
        inner = x.index_select(-1, self.kept.to(x.device))
        mean, variance = inner.mean(-1, keepdim=True), inner.var(-1, correction=0, keepdim=True)
        normal = (x - mean) / (variance + self.norm.eps).sqrt()
        if self.norm.weight is not None:
            normal = normal * self.norm.weight
        return normal if self.norm.bias is None else normal + self.norm.bias
