"""The space of inverted residual blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.candidates import Zero
from dnas.core.choice import Choice
from dnas.core.decision import Decision
from dnas.space.base import Space, Stem, check_size, check_space, random_choices
from dnas.space.depthwise import DepthwiseConv
from dnas.space.drop_path import DropPath
from dnas.space.layout import fast_layout
from dnas.space.ops import EVALUATION, SEARCH, Form
from dnas.space.skeleton import AuxiliaryHead
from dnas.system.errors import UserError

# Kernel size and expansion of each candidate (ProxylessNAS, section 4.2; FBNet, table 2, has kernels 3 and 5).
BLOCKS = {f"k{kernel}_e{expansion}": (kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)}
SKIP = "skip_connect"
# The last 1x1 convolution makes so many times the channels of the last stage: 1280 from 320 in MobileNetV2.
HEAD_EXPANSION = 4


class Shape(NamedTuple):
    """Of an inverted residual block.

    Args:
        in_channels: that it takes.
        out_channels: that it gives.
        full_channels: what its expansion multiplies: `in_channels`, or where widths are chosen the widest.
        stride: 2 halves height and width.
    """

    in_channels: int
    out_channels: int
    full_channels: int
    stride: int


# Makes the operation of a layer by its decision.
MakeOperation = Callable[[str, Shape], nn.Module]
MakeMask = Callable[[], nn.Module]


@dataclass(frozen=True)
class MobileSpace(Space):
    """Layers that are each an inverted residual block of some kernel size and expansion, or are left out.

    In the manner of ProxylessNAS (Cai et al. 2019, https://arxiv.org/abs/1812.00332) and FBNet (Wu et al. 2019,
    https://arxiv.org/abs/1812.03443): a layer chooses kernel 3, 5 or 7 and expansion 3 or 6; a layer that keeps height,
    width and channels adds its input, and may be left out ('skip_connect').

    The network has `stages` stages of `cells` layers. Stage s = 1, 2, ... has channels * 2^(s - 1) channels, as in the
    other spaces; the first layer of each stage but the first halves the image. There are `layers` decisions per stage,
    named `stage1.layer1` and so on, and `cells` must be as many or more: of n layers of a stage, layer i (from 0)
    follows decision floor(i * layers / n) + 1. So what is found with `cells` = `layers`, where every layer has a
    decision of its own, can be trained in deeper networks.

    With several `width_multipliers` each stage also chooses its number of channels (decision `stage1.width`), as a
    multiple of the full one: all widths share the first channels, and the others are masked (FBNetV2, Wan et al. 2020,
    https://arxiv.org/abs/2004.05565). Networks are built with as many channels as were chosen. Their blocks' hidden
    channels are not narrowed: an expansion multiplies the widest width. Masks have no parameters and no FLOPs, so
    `dnas.cost` gives 0 for widths.

    The papers' networks are for ImageNet; ours differ in their smaller stem, without a fixed first block, and in widths
    that double from stage to stage.

    Args:
        layers: decisions per stage.
        stages: of the network; each but the first halves the image.
        width_multipliers: over 0; the widths that a stage may have. One alone scales all stages.

    Raises:
        UserError: a number below 1, or multipliers that are repeated, missing or not over 0.

    Example:
        >>> space = MobileSpace(layers=2)
        >>> list(space.decisions())[:3]
        ['stage1.layer1', 'stage1.layer2', 'stage2.layer1']
        >>> space.size()  # six blocks on six layers; four of them may be left out
        86436
    """

    name: ClassVar[str] = "mobile"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "layers of inverted residual blocks, kernel 3/5/7 x expansion 3/6 or skip (ProxylessNAS, Cai et al. 2019)"
    )

    layers: int = 3
    stages: int = 3
    width_multipliers: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name in ("layers", "stages"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more; got {getattr(self, name)}.")
        multipliers = self.width_multipliers
        if (
            not multipliers
            or len(set(multipliers)) != len(multipliers)
            or not all(0 < m < math.inf for m in multipliers)
        ):
            raise UserError(f"width_multipliers must be different numbers over 0; got {list(multipliers)}.")

    @property
    def _widths(self) -> dict[str, float]:
        """Candidates of a stage's width."""
        return {str(float(multiplier)): float(multiplier) for multiplier in self.width_multipliers}

    @property
    def _width_is_searched(self) -> bool:
        return len(self.width_multipliers) > 1

    def decisions(self) -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        for stage in range(1, self.stages + 1):
            if self._width_is_searched:
                name = _width_name(stage)
                found[name] = Decision(name, "choice", tuple(self._widths))
            for layer in range(1, self.layers + 1):
                name = _layer_name(stage, layer)
                found[name] = Decision(name, "choice", _candidates(stage, layer))
        return found

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model; batch norm uses the statistics of the batch, with a learned scale in stem and head."""
        return self._build(
            _searchable_operation,
            [max(self._widths.values())] * self.stages,
            [self._mask(stage, channels) for stage in range(1, self.stages + 1)],
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=False,
            form=SEARCH,
        )

    def _mask(self, stage: int, channels: int) -> MakeMask:
        """Makes what follows the stem and every layer of a stage."""
        if not self._width_is_searched:
            return nn.Identity
        kept = {name: _scaled(channels * 2 ** (stage - 1), multiplier) for name, multiplier in self._widths.items()}
        return lambda: Choice(_width_name(stage), {name: FirstChannels(count) for name, count in kept.items()})

    def network(
        self,
        architecture: Architecture,
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
        auxiliary: bool = False,
    ) -> nn.Module:
        """The found blocks with affine batch norm and running statistics, as narrow as was chosen.

        Drop-path reaches the blocks that add their input; the auxiliary head is that of DARTS, after layer number
        2 * (stages * cells) // 3, counted from 0.
        """
        self.check(architecture)
        kept = architecture.decisions
        multipliers = [
            self._widths[str(kept[_width_name(stage)])] if self._width_is_searched else self.width_multipliers[0]
            for stage in range(1, self.stages + 1)
        ]
        return self._build(
            lambda name, shape: _operation(str(kept[name]), shape, EVALUATION),
            multipliers,
            [nn.Identity] * self.stages,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=auxiliary,
            form=EVALUATION,
        )

    def _build(
        self,
        make: MakeOperation,
        multipliers: Sequence[float],
        masks: Sequence[MakeMask],
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int,
        stem: Stem,
        auxiliary: bool,
        form: Form,
    ) -> MobileNetwork:
        check_size(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels)
        if cells < self.layers:
            raise UserError(
                f"cells (layers per stage) must be {self.layers} or more, as many as each stage has decisions; "
                f"got {cells}. Give --cells {self.layers}, or --space.layers {cells}."
            )
        widest = max(self._widths.values())
        return MobileNetwork(
            make,
            [_scaled(channels * 2**stage, multiplier) for stage, multiplier in enumerate(multipliers)],
            [_scaled(channels * 2**stage, widest) for stage in range(self.stages)],
            masks,
            head=HEAD_EXPANSION * channels * 2 ** (self.stages - 1),
            cells=cells,
            layers=self.layers,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=auxiliary,
            form=form,
        )

    def check(self, architecture: Architecture) -> None:
        """See that every decision of this space is answered by one of its candidates.

        Raises:
            UserError: another space, a missing or unknown decision, an unknown candidate.
        """
        check_space(self, architecture)
        architecture.check(self.decisions())

    def random(self, generator: torch.Generator) -> Architecture:
        return random_choices(self, generator)

    def size(self) -> int:
        return math.prod(len(decision.candidates) for decision in self.decisions().values())


class MobileNetwork(nn.Module):
    """Stem, stages of layers, 1x1 convolution, global average, linear.

    It maps images (batch, in_channels, height, width) to logits (batch, num_classes); in train mode with `auxiliary`
    to `(logits, auxiliary logits)`.

    Args:
        make: makes the operation of a layer.
        widths: channels of each stage.
        full_widths: channels of each stage at its widest, which expansions multiply.
        masks: for each stage, makes what its layers' operations end in.
        head: channels of the last 1x1 convolution.
        cells: layers per stage.
        layers: decisions per stage.
        num_classes: length of the logits.
        in_channels: of the images.
        stem: 'cifar' keeps the image size, 'imagenet' divides it by 8.
        auxiliary: whether there is an auxiliary head.
        form: of the batch norm; that of stem and head is always affine.
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
        # The first stage's layers add the stem's channels to theirs, so it is as narrow as they are.
        self.stem = nn.Sequential(*_stem(stem, in_channels, widths[0], affine), masks[0]())
        self.auxiliary_after = 2 * len(widths) * cells // 3
        self.blocks = nn.ModuleList()
        before, full, auxiliary_channels = widths[0], full_widths[0], widths[0]
        for stage, (width, mask) in enumerate(zip(widths, masks, strict=True), 1):
            for index in range(cells):
                layer = index * layers // cells + 1
                stride = 2 if stage > 1 and index == 0 else 1
                operation = make(_layer_name(stage, layer), Shape(before, width, full, stride))
                if len(self.blocks) == self.auxiliary_after:
                    auxiliary_channels = width
                self.blocks.append(Layer(operation, mask(), residual=_is_residual(stage, index)))
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
    """`x + mask(operation(x))`, or without `x` where the operation changes height, width or channels."""

    def __init__(self, operation: nn.Module, mask: nn.Module, *, residual: bool):
        super().__init__()
        self.operation = operation
        self.mask = mask
        self.drop_path = DropPath() if residual else nn.Identity()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        # A layer is left out by the zero operation beside its shortcut (ProxylessNAS, section 4.2).
        if isinstance(self.operation, Zero):
            return x
        y = self.drop_path(self.mask(self.operation(x)))
        return x + y if self.residual else y


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the full channels, depthwise convolution, 1x1 convolution to the output.

    Sandler et al. 2018, https://arxiv.org/abs/1801.04381. Batch norm after each, ReLU6 after the first two; the sum
    with the input is the layer's.
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


def _operation(name: str, shape: Shape, form: Form) -> nn.Module:
    if name == SKIP:
        return Zero()
    kernel, expansion = BLOCKS[name]
    return InvertedResidual(shape, kernel, expansion, form)


def _searchable_operation(decision: str, shape: Shape) -> Choice:
    stage, layer = _stage_and_layer(decision)
    return Choice(decision, {name: _operation(name, shape, SEARCH) for name in _candidates(stage, layer)})


def _candidates(stage: int, layer: int) -> tuple[str, ...]:
    """The blocks, and 'skip_connect' where the layer's first block has a shortcut."""
    return (*BLOCKS, SKIP) if _is_residual(stage, layer - 1) else tuple(BLOCKS)


def _is_residual(stage: int, index: int) -> bool:
    """Whether layer `index` of a stage, from 0, keeps height, width and channels."""
    return stage == 1 or index > 0


def _layer_name(stage: int, layer: int) -> str:
    return f"stage{stage}.layer{layer}"


def _width_name(stage: int) -> str:
    return f"stage{stage}.width"


def _stage_and_layer(decision: str) -> tuple[int, int]:
    stage, layer = decision.split(".")
    return int(stage.removeprefix("stage")), int(layer.removeprefix("layer"))


def _scaled(channels: int, multiplier: float) -> int:
    """At least one channel; the papers round to multiples of 8, which would make small networks' widths all equal."""
    return max(round(channels * multiplier), 1)


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
