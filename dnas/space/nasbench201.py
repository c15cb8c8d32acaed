"""The space of NAS-Bench-201."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept, KeptEdge
from dnas.core.cell import Cell, PlainCell
from dnas.core.decision import Decision
from dnas.core.schedule import Schedule
from dnas.space.base import Space, Stem, check_cell, check_size, check_space, draw, of_search
from dnas.space.drop_path import DropPath
from dnas.space.edges import CellBuilder, EdgeSettings
from dnas.space.layout import fast_layout
from dnas.space.ops import EVALUATION, SEARCH, Form, ReLUConvBN, operation
from dnas.space.stacked import StackedCell
from dnas.system.accepted import accept
from dnas.system.errors import UserError

CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# In the order of the official table: (1<-0), (2<-0), (2<-1), (3<-0), (3<-1), (3<-2).
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OUTPUT = (3,)
NAME = "cell"
_DECISION = Decision(NAME, "operations", CANDIDATES, EDGES, output=OUTPUT)

# There is no batch norm after pooling, also not in search (official code).
NB201_SEARCH = replace(SEARCH, norm_after_pool=False)


@dataclass(frozen=True)
class NasBench201Space(Space):
    """One cell of four states and six edges, each with one of five operations; 'none' may be kept.

    Dong and Yang 2020, https://arxiv.org/abs/2001.00326. The network is a 3x3 convolution, three stages of `cells`
    cells with C, 2C and 4C channels, joined by residual blocks of stride 2, and a linear classifier.

    Args:
        edge_weights: whether each edge has a weight of its own, as in `DartsSpace`.
        partial_channels: as in `DartsSpace`.
        auxiliary_skip: as in `DartsSpace`.
        skip_dropout: as in `DartsSpace`.
        drop_path: as in `DartsSpace`.
        running_statistics: as in `DartsSpace`.

    Raises:
        UserError: there are no parts, or a rate is outside [0, 1).

    Example:
        >>> space = NasBench201Space()
        >>> space.size()
        15625
    """

    name: ClassVar[str] = "nasbench201"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "one cell of six edges, five operations on each (NAS-Bench-201, Dong and Yang 2020)"
    has_auxiliary_head: ClassVar[bool] = False

    edge_weights: bool = False
    partial_channels: int = 1
    auxiliary_skip: Schedule | None = None
    skip_dropout: Schedule | None = None
    drop_path: Schedule | None = None
    running_statistics: bool = of_search(False)

    def __post_init__(self) -> None:
        accept(self)
        _ = self._edge_settings  # raises if they do not fit

    @property
    def _edge_settings(self) -> EdgeSettings:
        return EdgeSettings.of(self)

    def decisions(self) -> dict[str, Decision]:
        return self._edge_settings.with_edges(_DECISION)

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model with `cells` cells per stage (5 in the paper, with 16 channels).

        Batch norm has a learned scale outside the cells only.
        """
        _refuse(stem, auxiliary=False)
        return ThreeStages(
            self._make_cell(),
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            form=replace(self._edge_settings.formed(NB201_SEARCH), affine=True),
        )

    def _make_cell(self) -> Callable[[int], Cell]:
        settings = self._edge_settings
        if settings.only_mix:
            return lambda channels: _searchable_cell(channels, settings)
        builder = CellBuilder(settings, NB201_SEARCH)
        return lambda channels: builder.cell(_DECISION, channels, num_inputs=1, strides=[1] * len(EDGES))

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
        """The network that the benchmark trained: 16 channels and 5 cells per stage there."""
        _refuse(stem, auxiliary)
        self.check(architecture)
        cell = architecture.decisions[NAME]
        assert isinstance(cell, CellArchitecture)
        return ThreeStages(
            lambda width: _plain_cell(cell, width),
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
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
        _refuse(stem, auxiliary=False)
        builder = CellBuilder(EdgeSettings(), EVALUATION)
        return ThreeStages(
            lambda width: builder.cell(_DECISION, width, num_inputs=1, strides=[1] * len(EDGES)),
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            form=EVALUATION,
        )

    def check(self, architecture: Architecture) -> None:
        check_space(self, architecture)
        if set(architecture.decisions) != {NAME}:
            raise UserError(
                f"An architecture of the space {self.name!r} has one cell, {NAME!r}; "
                f"this one has {sorted(architecture.decisions)}."
            )
        check_cell(NAME, architecture.decisions[NAME], num_inputs=1)

    def random(self, generator: torch.Generator) -> Architecture:
        """Any of the five operations on each edge, uniformly."""
        edges = [KeptEdge(*edge, CANDIDATES[draw(len(CANDIDATES), generator)]) for edge in EDGES]
        return self.architecture({NAME: CellArchitecture(tuple(edges), OUTPUT)})

    def size(self) -> int:
        return len(CANDIDATES) ** len(EDGES)


class ThreeStages(nn.Module):
    """Stem, three stages of cells joined by residual blocks, batch norm, ReLU, global average, linear.

    It maps images (batch, in_channels, height, width) to logits (batch, num_classes).
    """

    def __init__(
        self,
        make_cell: Callable[[int], nn.Module],
        *,
        channels: int,
        cells: int,
        num_classes: int,
        in_channels: int,
        form: Form,
    ):
        super().__init__()
        check_size(channels=channels, cells=cells, num_classes=num_classes, in_channels=in_channels)
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.stem_norm = form.norm(channels)
        self.blocks = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage > 0:
                self.blocks.append(ResidualBlock(width // 2, width, form))
            self.blocks.extend(make_cell(width) for _ in range(cells))
        self.norm = form.norm(4 * channels)
        self.classifier = nn.Linear(4 * channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(fast_layout(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, beside average pooling and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, form: Form):
        super().__init__()
        self.conv0 = ReLUConvBN(in_channels, out_channels, 3, 2, form)
        self.conv1 = ReLUConvBN(out_channels, out_channels, 3, 1, form)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # Odd sizes are rounded up, as the convolution does; the published pooling would round down.
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        return self.conv1(self.conv0(x)) + self.shortcut(pooled)


def _searchable_cell(channels: int, settings: EdgeSettings) -> StackedCell:
    form = settings.formed(NB201_SEARCH)
    candidates = [{name: operation(name, channels, 1, form) for name in CANDIDATES} for _ in EDGES]
    return StackedCell(NAME, EDGES, candidates, num_inputs=1, output=OUTPUT, edge_weights=settings.edge_weights)


def _plain_cell(cell: CellArchitecture, channels: int) -> PlainCell:
    operations = [operation(edge.operation, channels, 1, EVALUATION) for edge in cell.edges]
    return PlainCell(
        [(edge.source, edge.target) for edge in cell.edges],
        [module if isinstance(module, nn.Identity) else nn.Sequential(module, DropPath()) for module in operations],
        num_inputs=1,
        output=cell.output,
    )


def _refuse(stem: Stem, auxiliary: bool) -> None:
    if stem != "cifar" or auxiliary:
        raise UserError("NAS-Bench-201 has no ImageNet stem and no auxiliary head; use stem 'cifar' without auxiliary.")
