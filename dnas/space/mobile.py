"""The space of inverted residual blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.candidates import Zero
from dnas.core.choice import Choice
from dnas.core.decision import Decision
from dnas.space.base import LARGEST_SIZES, Space, Stem, check_count, check_size, check_space, random_choices
from dnas.space.mobile_network import (
    FirstChannels,
    InvertedResidual,
    MakeMask,
    MakeOperation,
    MobileNetwork,
    Shape,
    is_residual,
    layer_name,
)
from dnas.space.ops import EVALUATION, SEARCH, Form
from dnas.system.accepted import accept
from dnas.system.errors import UserError

# Kernel size and expansion of each candidate (ProxylessNAS, section 4.2; FBNet, table 2, has kernels 3 and 5).
BLOCKS = {f"k{kernel}_e{expansion}": (kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)}
SKIP = "skip_connect"
# The last 1x1 convolution has this many times the channels of the last stage: 1280 from 320 in MobileNetV2.
HEAD_EXPANSION = 4


@dataclass(frozen=True)
class MobileSpace(Space):
    """Layers that are each an inverted residual block with its own kernel size and expansion, or are left out.

    It follows ProxylessNAS (Cai et al. 2019, https://arxiv.org/abs/1812.00332) and FBNet (Wu et al. 2019,
    https://arxiv.org/abs/1812.03443): a layer chooses kernel 3, 5 or 7 and expansion 3 or 6; a layer that keeps height,
    width and channels adds its input, and may be left out ('skip_connect').

    The network has `stages` stages of `cells` layers. Stage s = 1, 2, ... has channels * 2^(s - 1) channels, as in the
    other spaces; the first layer of each stage except the first halves the image. There are `layers` decisions per
    stage, named `stage1.layer1` and so on, and `cells` must not be smaller: of n layers of a stage, layer i (from 0)
    follows decision floor(i * layers / n) + 1. So an architecture found with `cells` = `layers`, where every layer has
    a decision of its own, can be trained in deeper networks.

    With several `width_multipliers` each stage also chooses its number of channels (decision `stage1.width`), as a
    multiple of the full one: all widths share the first channels, and the others are masked (FBNetV2, Wan et al. 2020,
    https://arxiv.org/abs/2004.05565). Networks are built with as many channels as were chosen. Their blocks' hidden
    channels are not narrowed: an expansion multiplies the widest width. Masks have no parameters and no FLOPs, so
    `dnas.cost` gives 0 for widths.

    The papers' networks are for ImageNet; ours differ in their smaller stem, without a fixed first block, and in widths
    that double from stage to stage.

    Args:
        layers: number of decisions per stage.
        stages: number of stages of the network; each except the first halves the image.
        width_multipliers: widths that a stage may have, above 0. A single one scales all stages.

    Raises:
        UserError: a number is below 1, or multipliers are repeated, missing or not above 0.

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
        accept(self)
        for name in ("layers", "stages"):
            check_count(name, getattr(self, name), most=LARGEST_SIZES["cells"])
        multipliers = self.width_multipliers
        if (
            not multipliers
            or len(set(multipliers)) != len(multipliers)
            or not all(0 < m < math.inf for m in multipliers)
        ):
            raise UserError(f"width_multipliers must be different numbers above 0; got {list(multipliers)}.")

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
                name = layer_name(stage, layer)
                found[name] = Decision(name, "choice", _candidates(stage, layer))
        return found

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model; batch norm uses the statistics of the batch, with a learned scale in stem and head."""
        return self._build(
            lambda name, shape: _searchable_operation(name, shape, SEARCH),
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
        """Makes the mask that follows the stem and every layer of a stage."""
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
        """The chosen blocks with affine batch norm and running statistics, at the chosen widths.

        Drop-path acts on the blocks that add their input; the auxiliary head is that of DARTS, after layer number
        2 * (stages * cells) // 3, counted from 0.
        """
        self.check(architecture)
        kept = architecture.decisions
        return self._build(
            lambda name, shape: _operation(str(kept[name]), shape, EVALUATION),
            self._multipliers(kept),
            [nn.Identity] * self.stages,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=auxiliary,
            form=EVALUATION,
        )

    def undecided(
        self,
        given: Mapping[str, Kept],
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int = 3,
        stem: Stem = "cifar",
    ) -> nn.Module:
        """The evaluation network at the widths that are `given`; its layers are left open."""
        return self._build(
            lambda name, shape: _searchable_operation(name, shape, EVALUATION),
            self._multipliers(given),
            [nn.Identity] * self.stages,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=False,
            form=EVALUATION,
        )

    @property
    def shaping(self) -> tuple[str, ...]:
        return tuple(_width_name(stage) for stage in range(1, self.stages + 1)) if self._width_is_searched else ()

    def _multipliers(self, kept: Mapping[str, Kept]) -> list[float]:
        """The width multiplier of each stage."""
        if not self._width_is_searched:
            return [float(self.width_multipliers[0])] * self.stages
        return [self._widths[str(kept[name])] for name in self.shaping]

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
        """Check that the architecture keeps one of the candidates in every decision of this space.

        Raises:
            UserError: it belongs to another space, a decision is missing or unknown, or a candidate is unknown.
        """
        check_space(self, architecture)
        architecture.check(self.decisions())

    def random(self, generator: torch.Generator) -> Architecture:
        return random_choices(self, generator)

    def size(self) -> int:
        return math.prod(len(decision.candidates) for decision in self.decisions().values())


def _operation(name: str, shape: Shape, form: Form) -> nn.Module:
    if name == SKIP:
        return Zero()
    kernel, expansion = BLOCKS[name]
    return InvertedResidual(shape, kernel, expansion, form)


def _searchable_operation(decision: str, shape: Shape, form: Form) -> Choice:
    stage, layer = _stage_and_layer(decision)
    return Choice(decision, {name: _operation(name, shape, form) for name in _candidates(stage, layer)})


def _candidates(stage: int, layer: int) -> tuple[str, ...]:
    """The blocks, and 'skip_connect' if the layer's first block has a shortcut."""
    return (*BLOCKS, SKIP) if is_residual(stage, layer - 1) else tuple(BLOCKS)


def _width_name(stage: int) -> str:
    return f"stage{stage}.width"


def _stage_and_layer(decision: str) -> tuple[int, int]:
    stage, layer = decision.split(".")
    return int(stage.removeprefix("stage")), int(layer.removeprefix("layer"))


def _scaled(channels: int, multiplier: float) -> int:
    """At least one channel; the papers round to multiples of 8, which would make small networks' widths all equal."""
    return max(round(channels * multiplier), 1)
