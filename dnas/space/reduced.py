"""The reduced DARTS spaces S1 to S4, on which DARTS fails without help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from dnas.core.architecture import Architecture, Kept
from dnas.core.cell import places
from dnas.core.decision import Decision
from dnas.core.schedule import Schedule
from dnas.space.base import Space, Stem, check_space, of_search
from dnas.space.darts import (
    CELLS,
    cell_decision,
    check_cells,
    evaluation_network,
    num_cells,
    random_cell,
    supernet_model,
    undecided_network,
)
from dnas.space.edges import EdgeSettings
from dnas.system.accepted import accept
from dnas.system.errors import UserError

NODES = 4

_POOLS = ("max_pool_3x3", "avg_pool_3x3")
_MAX_SKIP = ("max_pool_3x3", "skip_connect")
_SKIP_SEP = ("skip_connect", "sep_conv_3x3")
_SKIP_DIL3 = ("skip_connect", "dil_conv_3x3")
_SKIP_DIL5 = ("skip_connect", "dil_conv_5x5")
_DILS = ("dil_conv_3x3", "dil_conv_5x5")

# S1 by cell, one line for each node: the candidates of its edges, from state 0 on.
# fmt: off
_S1 = {
    "normal": (
        _SKIP_DIL3, _SKIP_DIL5,
        _SKIP_DIL5, _SKIP_SEP, _SKIP_DIL3,
        _MAX_SKIP, _SKIP_SEP, _SKIP_SEP, _SKIP_DIL3,
        _SKIP_SEP, _MAX_SKIP, _SKIP_DIL3, _DILS, _DILS,
    ),
    "reduce": (
        _POOLS, ("max_pool_3x3", "dil_conv_3x3"),
        _POOLS, _POOLS, _SKIP_DIL5,
        _POOLS, ("max_pool_3x3", "sep_conv_3x3"), _SKIP_DIL3, _SKIP_DIL5,
        _POOLS, _POOLS, _SKIP_DIL5, _SKIP_DIL5, _SKIP_DIL5,
    ),
}
# fmt: on
_CANDIDATES = {2: _SKIP_SEP, 3: ("none", *_SKIP_SEP), 4: ("noise", "sep_conv_3x3")}


@dataclass(frozen=True)
class ReducedDartsSpace(Space):
    """The cells of DARTS with two or three candidates on each edge.

    Zela et al. 2020, https://arxiv.org/abs/1909.09656, section 3; the candidates are those of the
    official code (https://github.com/automl/RobustDARTS, src/spaces.py).

    - S1: on each edge, the two operations that were left after the weakest ones of DARTS were dropped one by one;
    - S2: skip connection and 3x3 separable convolution;
    - S3: these two and 'none', which is never kept;
    - S4: noise N(0, 1) instead of the input, and 3x3 separable convolution.

    As in every space, the edges of S1 are compared by their strongest operation; the official code reads the names of
    the cell's first edges when it compares them.

    Args:
        number: 1 to 4.
        edge_weights: whether each edge has a weight of its own, as in `DartsSpace`.
        partial_channels: as in `DartsSpace`.
        auxiliary_skip: as in `DartsSpace`.
        skip_dropout: as in `DartsSpace`.
        drop_path: as in `DartsSpace`.
        running_statistics: as in `DartsSpace`.

    Raises:
        UserError: the number is another one, there are no parts, or a rate is outside [0, 1).

    Example:
        >>> ReducedDartsSpace(number=2).size()
        2123366400
    """

    name: ClassVar[str] = "reduced_darts"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "S1 to S4: DARTS's cells with two or three operations (RobustDARTS, Zela et al. 2020)"

    number: int = 2
    edge_weights: bool = False
    partial_channels: int = 1
    auxiliary_skip: Schedule | None = None
    skip_dropout: Schedule | None = None
    drop_path: Schedule | None = None
    running_statistics: bool = of_search(False)

    def __post_init__(self) -> None:
        accept(self)
        if self.number not in (1, 2, 3, 4):
            raise UserError(f"number must be 1, 2, 3 or 4, for the spaces S1 to S4; got {self.number}.")
        _ = self._edge_settings  # raises if they do not fit

    @property
    def _edge_settings(self) -> EdgeSettings:
        return EdgeSettings.of(self)

    def decisions(self) -> dict[str, Decision]:
        return {
            name: decision
            for cell in CELLS
            for name, decision in self._edge_settings.with_edges(self._cell_decision(cell)).items()
        }

    def _cell_decision(self, name: str) -> Decision:
        if self.number == 1:
            return cell_decision(name, NODES, places(2), _S1[name])
        return cell_decision(name, NODES, _CANDIDATES[self.number])

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model, as in `DartsSpace`: 16 channels and 8 cells in the paper."""
        return supernet_model(
            [self._cell_decision(name) for name in CELLS],
            self._edge_settings,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
        )

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
        """The evaluation network of DARTS: 16 channels and 20 cells in the paper."""
        self.check(architecture)
        return evaluation_network(
            architecture,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=auxiliary,
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
        return undecided_network(
            [self._cell_decision(name) for name in CELLS],
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
        )

    def check(self, architecture: Architecture) -> None:
        check_space(self, architecture)
        check_cells(architecture)

    def random(self, generator: torch.Generator) -> Architecture:
        """Two different incoming edges for each node, each with one of its operations except 'none', uniformly."""
        return self.architecture({name: random_cell(self._cell_decision(name), generator) for name in CELLS})

    def size(self) -> int:
        return math.prod(num_cells(self._cell_decision(name)) for name in CELLS)
