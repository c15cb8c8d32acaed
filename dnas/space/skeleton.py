"""The network around the cells of DARTS: stem, stacked cells, classifier and auxiliary head.

Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 3 and official code. The supernet and the evaluation
networks differ only in their cells (`make_cell`) and in the form of their batch norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.space.base import Stem, check_size
from dnas.space.layout import fast_layout
from dnas.space.ops import FactorizedReduce, Form, ReLUConvBN
from dnas.system.errors import UserError


def reductions(cells: int) -> tuple[int, ...]:
    """Which cells of a network halve the image and double the channels: numbers cells // 3 and 2 * cells // 3.

    With two cells only the second does, and a single cell does not: the published rule would leave no normal cell.
    """
    if cells < 3:
        return (1,) if cells == 2 else ()
    return (cells // 3, 2 * cells // 3)


@dataclass(frozen=True)
class CellMaker:
    """Makes the cells of a network.

    Args:
        make: `make(channels, reduction)` gives a cell that takes two inputs of `channels` channels.
        normal_width: number of states that a normal cell concatenates.
        reduce_width: number of states that a reduction cell concatenates.
    """

    make: Callable[[int, bool], nn.Module]
    normal_width: int
    reduce_width: int

    def width(self, reduction: bool) -> int:
        return self.reduce_width if reduction else self.normal_width


class Skeleton(nn.Module):
    """Images (batch, in_channels, height, width), 4 pixels or larger, to logits (batch, num_classes).

    In train mode with `auxiliary` it returns `(logits, auxiliary logits)`; the auxiliary head sees the features after
    cell number 2 * cells // 3.

    Args:
        maker: makes the cells.
        channels: C: the first cell's nodes have C channels, those after a reduction twice as many.
        cells: number of cells; `reductions` says which of them reduce.
        num_classes: length of the logits.
        in_channels: channels of the images.
        stem: 'cifar' keeps the image size, 'imagenet' divides it by 8.
        auxiliary: whether there is an auxiliary head.
        form: form of the batch norm; the stem always has an affine one.
    """

    def __init__(
        self,
        maker: CellMaker,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int,
        stem: Stem,
        auxiliary: bool,
        form: Form,
    ):
        super().__init__()
        check_size(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels)
        self.stem = _stem(stem, in_channels, channels, replace(form, affine=True))
        self.auxiliary_after = 2 * cells // 3
        self.blocks = nn.ModuleList()
        before, last, width, reduced = self.stem.out_channels, self.stem.out_channels, channels, stem == "imagenet"
        auxiliary_channels = last
        for index in range(cells):
            reduction = index in reductions(cells)
            width *= 2 if reduction else 1
            self.blocks.append(Block(before, last, width, reduced, maker.make(width, reduction), form))
            before, last, reduced = last, maker.width(reduction) * width, reduction
            if index == self.auxiliary_after:
                auxiliary_channels = last
        self.classifier = nn.Linear(last, num_classes)
        self.auxiliary_head = AuxiliaryHead(auxiliary_channels, num_classes, stem) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        s0, s1 = self.stem(fast_layout(x))
        for index, block in enumerate(self.blocks):
            s0, s1 = s1, block(s0, s1)
            if self.auxiliary_head is not None and self.training and index == self.auxiliary_after:
                auxiliary_logits = self.auxiliary_head(s1)
        logits = self.classifier(s1.mean(dim=(2, 3)))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


class Block(nn.Module):
    """A cell, and the 1x1 convolutions that bring its two inputs to its channels and to one size."""

    def __init__(self, before: int, last: int, channels: int, reduced: bool, cell: nn.Module, form: Form):
        super().__init__()
        self.preprocess0 = (
            FactorizedReduce(before, channels, form) if reduced else ReLUConvBN(before, channels, 1, 1, form)
        )
        self.preprocess1 = ReLUConvBN(last, channels, 1, 1, form)
        self.cell = cell

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        return self.cell(self.preprocess0(s0), self.preprocess1(s1))


class CifarStem(nn.Module):
    """A 3x3 convolution to 3C channels; both inputs of the first cell are its result."""

    def __init__(self, in_channels: int, channels: int, form: Form):
        super().__init__()
        self.out_channels = 3 * channels
        self.conv = nn.Conv2d(in_channels, self.out_channels, 3, padding=1, bias=False)
        self.norm = form.norm(self.out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = self.norm(self.conv(x))
        return s, s


class ImageNetStem(nn.Module):
    """Three 3x3 convolutions of stride 2; the first cell's inputs are 4 and 8 times smaller than the image."""

    def __init__(self, in_channels: int, channels: int, form: Form):
        super().__init__()
        self.out_channels = channels
        half = max(channels // 2, 1)
        self.conv0 = nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False)
        self.norm0 = form.norm(half)
        self.conv1 = ReLUConvBN(half, channels, 3, 2, form)
        self.conv2 = ReLUConvBN(channels, channels, 3, 2, form)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s0 = self.conv1(self.norm0(self.conv0(x)))
        return s0, self.conv2(s0)


def _stem(stem: Stem, in_channels: int, channels: int, form: Form) -> CifarStem | ImageNetStem:
    match stem:
        case "cifar":
            return CifarStem(in_channels, channels, form)
        case "imagenet":
            return ImageNetStem(in_channels, channels, form)
        case _:
            raise UserError(f"stem must be 'cifar' or 'imagenet'; got {stem!r}.")


class AuxiliaryHead(nn.Module):
    """A second classifier on features within the network, which shortens the path of the gradient.

    Average pooling to 2x2, 1x1 convolution to 128, 2x2 convolution to 768 channels, linear. The published heads pool
    5x5 windows with stride 3 (CIFAR, features of 8x8) and 2 (ImageNet, features of 7x7: 'assuming input size 14x14'
    in its docstring does not fit its own linear layer). Features from which those windows do not make 2x2 are pooled
    adaptively, so that images of any size work. As published, the ImageNet head has no batch norm after the second
    convolution.
    """

    def __init__(self, channels: int, num_classes: int, stem: Stem):
        super().__init__()
        self.stride = 2 if stem == "imagenet" else 3
        self.conv0 = nn.Conv2d(channels, 128, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(128)
        self.conv1 = nn.Conv2d(128, 768, 2, bias=False)
        self.norm1 = nn.Identity() if stem == "imagenet" else nn.BatchNorm2d(768)
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm0(self.conv0(self._pool(F.relu(x)))))
        return self.classifier(torch.flatten(F.relu(self.norm1(self.conv1(x))), 1))

    def _pool(self, x: Tensor) -> Tensor:
        if all((size - 5) // self.stride + 1 == 2 for size in x.shape[2:]):
            return F.avg_pool2d(x, 5, self.stride)
        return F.adaptive_avg_pool2d(x, 2)
