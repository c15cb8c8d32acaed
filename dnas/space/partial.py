"""Partial channels: the operations of an edge see some of a state's channels, the others bypass them.

PC-DARTS (Xu et al. 2020, https://arxiv.org/abs/1907.05737, section 3.2). With K parts of C / K channels, S the first of
them, edge (i, j) gives

    f_ij(x_i) = shuffle_K(concat(sum_k p_ijk o_k(S * x_i), (1 - S) * x_i))

An edge that halves the image pools (1 - S) * x_i over 2x2 windows by maximum, without batch norm. From the official
code (https://github.com/yuhuixu1993/PC-DARTS, model_search.py) come the pooling, the order of the channels and the
shuffle, which the paper's equations leave out. The shuffle is linear, so the edges into a node are added up first and
shuffled once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.candidates import add_up
from dnas.core.cell import concatenate


@dataclass(frozen=True)
class PartialChannels:
    """The first of `parts` equal parts of the channels, the others, and how they are joined again.

    Tensors are (batch, channels, height, width).
    """

    parts: int

    def first(self, x: Tensor) -> Tensor:
        """The channels that the operations see: the first channels / parts channels, without gaps in memory."""
        layout = torch.channels_last if x.stride(1) == 1 else torch.contiguous_format
        return x[:, : x.shape[1] // self.parts].contiguous(memory_format=layout)

    def others(self, x: Tensor, stride: int) -> Tensor:
        """The channels that bypass the operations. Odd sizes are rounded up, which the published code cannot do."""
        others = x[:, x.shape[1] // self.parts :]
        return others if stride == 1 else F.max_pool2d(others, 2, 2, ceil_mode=True)

    def join(self, mixed: Tensor | None, others: Tensor) -> Tensor:
        """All channels, shuffled; a `mixed` of None counts as zeros."""
        if mixed is None:
            mixed = torch.zeros_like(others[:, : others.shape[1] // (self.parts - 1)])
        return channel_shuffle(torch.cat((mixed, others), dim=1), self.parts)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel a of group b becomes channel b of group a (ShuffleNet, Zhang et al. 2018, arXiv 1707.01083).

    Example:
        >>> channel_shuffle(torch.arange(6.0).reshape(1, 6, 1, 1), 3).flatten()
        tensor([0., 2., 4., 1., 3., 5.])
    """
    if x.stride(1) == 1:  # channels-last stays so
        return x.permute(0, 2, 3, 1).unflatten(3, (groups, -1)).transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class PartialPlainCell(nn.Module):
    """The plain form of a cell with partial channels: one operation for each kept edge, and the bypassing channels.

    Args:
        edges: (source, target) state indices, one for each operation. If one edge has several operations, the
            other channels bypass them once.
        strides: stride of each edge.
        operations: one module for each edge, for channels / parts channels.
        num_inputs: number of input states.
        output: indices of the states that are concatenated over channels.
        partial: how the channels are divided.
    """

    def __init__(
        self,
        edges: Sequence[tuple[int, int]],
        strides: Sequence[int],
        operations: Sequence[nn.Module],
        *,
        num_inputs: int,
        output: Sequence[int],
        partial: PartialChannels,
    ):
        super().__init__()
        self.edges = tuple(edges)
        self.strides = tuple(strides)
        self.operations = nn.ModuleList(operations)
        self.num_inputs = num_inputs
        self.output = tuple(output)
        self.partial = partial

    def forward(self, *inputs: Tensor) -> Tensor:
        states: dict[int, Tensor] = dict(enumerate(inputs))
        for node in dict.fromkeys(target for _, target in self.edges):
            incoming = [index for index, (_, target) in enumerate(self.edges) if target == node]
            mixed = add_up(
                self.operations[index](self.partial.first(states[self.edges[index][0]])) for index in incoming
            )
            strides = {self.edges[index][0]: self.strides[index] for index in incoming}
            others = add_up(self.partial.others(states[source], stride) for source, stride in strides.items())
            assert others is not None
            states[node] = self.partial.join(mixed, others)
        return concatenate(states, self.output)

    def extra_repr(self) -> str:
        return f"edges={list(self.edges)}, output={list(self.output)}, parts={self.partial.parts}"
