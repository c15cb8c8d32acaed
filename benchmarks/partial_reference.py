"""The plain DARTS supernet with partial channels (PC-DARTS, Xu et al. 2020, https://arxiv.org/abs/1907.05737).

`benchmarks/reference.py` stays frozen; its edges are replaced here. Each edge takes its slice of channels, computes all
eight operations on it, pools what goes past them where the edge has stride 2, concatenates and shuffles, by itself.
Edge weights are left out: 28 numbers, and one product per edge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import reference


class PartialMixedOperation(nn.Module):
    """shuffle(concat(sum_k weights[k] * operation_k(first channels), other channels)), with `parts` parts."""

    def __init__(self, channels: int, stride: int, parts: int):
        super().__init__()
        self.parts = parts
        self.stride = stride
        self.mixed = reference.MixedOperation(channels // parts, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        seen = x.shape[1] // self.parts
        mixed, others = self.mixed(x[:, :seen], weights), x[:, seen:]
        joined = torch.cat((mixed, others if self.stride == 1 else F.max_pool2d(others, 2, 2)), dim=1)
        batch, channels, height, width = joined.shape
        return joined.view(batch, self.parts, channels // self.parts, height, width).transpose(1, 2).reshape_as(joined)


def partial_supernet(*, channels: int, cells: int, num_classes: int, parts: int) -> reference.ReferenceSupernet:
    """`ReferenceSupernet` whose operations see 1 / `parts` of the channels."""
    model = reference.ReferenceSupernet(channels=channels, cells=cells, num_classes=num_classes)
    width = channels
    for cell in model.cells:
        assert isinstance(cell, reference.ReferenceCell)
        width *= 2 if cell.reduction else 1
        sources = [source for node in range(reference.NUM_NODES) for source in range(2 + node)]
        cell.edges = nn.ModuleList(
            PartialMixedOperation(width, 2 if cell.reduction and source < 2 else 1, parts) for source in sources
        )
    return model
