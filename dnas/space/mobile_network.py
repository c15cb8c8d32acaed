"""The network of inverted residual blocks, searchable or built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.candidates import Zero
from dnas.space.base import Stem
from dnas.space.depthwise import DepthwiseConv
from dnas.space.drop_path import DropPath
from dnas.space.layout import fast_layout
from dnas.space.ops import Form
from dnas.space.skeleton import AuxiliaryHead
from dnas.system.errors import UserError


class Shape(NamedTuple):
    """Channels and stride of an inverted residual block.

    Args:
        in_channels: channels of its input.
        out_channels: channels of its output.
        full_channels: channels that its expansion multiplies: `in_channels`, or the widest if widths are searched.
        stride: 2 halves height and width.
    """

    in_channels: int
    out_channels: int
    full_channels: int
    stride: int


# Makes the operation of a layer by its decision.
MakeOperation = Callable[[str, Shape], nn.Module]
MakeMask = Callable[[], nn.Module]


class MobileNetwork(nn.Module):
    """Stem, stages of layers, 1x1 convolution, global average, linear.

    It maps images (batch, in_channels, height, width) to logits (batch, num_classes); in train mode with `auxiliary`
    to `(logits, auxiliary logits)`.

    Args:
        make: makes the operation of a layer.
        widths: channels of each stage.
        full_widths: channels of each stage at its widest, which expansions multiply.
        masks: for each stage, makes the mask that follows each of its layers' operations.
        head: channels of the last 1x1 convolution.
        cells: layers per stage.
        layers: decisions per stage.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem: 'cifar' keeps the image size, 'imagenet' divides it by 8.
        auxiliary: whether there is an auxiliary head.
        form: form of the batch norm; stem and head always have an affine one.
    """

    def __init__(
        self,
        make: MakeOperation,
        widths: Sequence[int],
        full_widths: Sequence[int],
        masks: Sequence[MakeMask],
        *,
        head: int,
        cells: int,
        layers: int,
        num_classes: int,
        in_channels: int,
        stem: Stem,
        auxiliary: bool,
        form: Form,
    ):
        super().__init__()
        affine = replace(form, affine=True)
        # The first stage's layers add the stem's channels to their own, so it is as narrow as they are.
        self.stem = nn.Sequential(*_stem(stem, in_channels, widths[0], affine), masks[0]())
        self.auxiliary_after = 2 * len(widths) * cells // 3
        self.blocks = nn.ModuleList()
        before, full, auxiliary_channels = widths[0], full_widths[0], widths[0]
        for stage, (width, mask) in enumerate(zip(widths, masks, strict=True), 1):
            for index in range(cells):
                layer = index * layers // cells + 1
                stride = 2 if stage > 1 and index == 0 else 1
                operation = make(layer_name(stage, layer), Shape(before, width, full, stride))
                if len(self.blocks) == self.auxiliary_after:
                    auxiliary_channels = width
                self.blocks.append(Layer(operation, mask(), residual=is_residual(stage, index)))
                before, full = width, full_widths[stage - 1]
        self.head = _conv_norm_act(before, head, 1, 1, affine)
        self.classifier = nn.Linear(head, num_classes)
        self.auxiliary_head = AuxiliaryHead(auxiliary_channels, num_classes, stem) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        x = self.stem(fast_layout(x))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if self.auxiliary_head is not None and self.training and index == self.auxiliary_after:
                auxiliary_logits = self.auxiliary_head(x)
        logits = self.classifier(self.head(x).mean(dim=(2, 3)))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


class Layer(nn.Module):
    """`x + mask(operation(x))`, or without `x` if the operation changes height, width or channels."""

    def __init__(self, operation: nn.Module, mask: nn.Module, *, residual: bool):
        super().__init__()
        self.operation = operation
        self.mask = mask
        self.drop_path = DropPath() if residual else nn.Identity()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        # A left-out layer has the zero operation beside its shortcut (ProxylessNAS, section 4.2).
        if isinstance(self.operation, Zero):
            return x
        y = self.drop_path(self.mask(self.operation(x)))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the full channels, depthwise convolution, 1x1 convolution to the output.

    Sandler et al. 2018, https://arxiv.org/abs/1801.04381. Batch norm follows each, ReLU6 the first two; the layer
    adds the input.
    """

    def __init__(self, shape: Shape, kernel: int, expansion: int, form: Form):
        super().__init__()
        hidden = expansion * shape.full_channels
        self.expand = nn.Conv2d(shape.in_channels, hidden, 1, bias=False)
        self.expand_norm = form.norm(hidden)
        self.depthwise = DepthwiseConv(hidden, kernel, shape.stride)
        self.depthwise_norm = form.norm(hidden)
        self.project = nn.Conv2d(hidden, shape.out_channels, 1, bias=False)
        self.project_norm = form.norm(shape.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.expand_norm(self.expand(x)))
        x = F.relu6(self.depthwise_norm(self.depthwise(x)))
        return self.project_norm(self.project(x))


class FirstChannels(nn.Module):
    """Keeps the first `count` channels of (batch, channels, height, width) and puts zeros in place of the others."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        masked = x.shape[1] - self.count
        return x if masked == 0 else F.pad(x[:, : self.count], (0, 0, 0, 0, 0, masked))

    def extra_repr(self) -> str:
        return f"count={self.count}"


def is_residual(stage: int, index: int) -> bool:
    """Whether layer `index` of a stage, from 0, keeps height, width and channels."""
    return stage == 1 or index > 0


def layer_name(stage: int, layer: int) -> str:
    """Name of the decision of a layer, both counted from 1."""
    return f"stage{stage}.layer{layer}"


def _conv_norm_act(in_channels: int, out_channels: int, kernel: int, stride: int, form: Form) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, form.norm(out_channels), nn.ReLU6())


def _stem(stem: Stem, in_channels: int, channels: int, form: Form) -> nn.Sequential:
    match stem:
        case "cifar":
            return _conv_norm_act(in_channels, channels, 3, 1, form)
        case "imagenet":
            inputs = (in_channels, channels, channels)
            return nn.Sequential(*(_conv_norm_act(count, channels, 3, 2, form) for count in inputs))
        case _:
            raise UserError(f"stem must be 'cifar' or 'imagenet'; got {stem!r}.")
