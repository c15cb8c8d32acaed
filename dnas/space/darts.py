"""The convolutional space of DARTS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept, KeptEdge
from dnas.core.cell import Cell, PlainCell
from dnas.core.decision import Decision
from dnas.core.schedule import Schedule
from dnas.space.base import (
    MOST_NODES,
    Space,
    Stem,
    check_cell,
    check_count,
    check_space,
    draw,
    draw_distinct,
    of_search,
)
from dnas.space.drop_path import DropPath
from dnas.space.edges import CellBuilder, EdgeSettings
from dnas.space.ops import EVALUATION, OPERATIONS, SEARCH, operation
from dnas.space.skeleton import CellMaker, Skeleton
from dnas.system.accepted import accept
from dnas.system.errors import UserError

CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
# 'none' may win during search but is not kept: DARTS, section 2.4.
EXCLUDED = ("none",)
CELLS = ("normal", "reduce")
NUM_INPUTS = 2
NUM_KEPT = 2


@dataclass(frozen=True)
class DartsSpace(Space):
    """Two cells, 'normal' and 'reduce': nodes that each keep two incoming edges with one operation each.

    Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 3.1. A network has a reduction cell at one third and at
    two thirds of its depth. With two cells only the second is one. A network of a single cell has only 'normal' in its
    model; an architecture found in it cannot be built with more cells.

    Args:
        nodes: number of nodes of each cell, besides its two inputs; its output concatenates them.
        candidates: candidates on each edge, from `dnas.space.ops.OPERATIONS`; 'none' takes part in the search, but is
            never kept.
        edge_weights: whether each edge has a weight of its own (PC-DARTS, Xu et al. 2020,
            https://arxiv.org/abs/1907.05737).
        partial_channels: K: the operations of the supernet see 1 / K of the channels (PC-DARTS); 1 for all of them.
        auxiliary_skip: weight of a skip connection beside the operations of each edge, over the progress of the search
            (DARTS-, Chu et al. 2021, https://arxiv.org/abs/2009.01027: `Linear(1, 0)`); None for no such skip.
        skip_dropout: rate of the dropout after skip connections in search (P-DARTS, Chen et al. 2019,
            https://arxiv.org/abs/1904.12760); None for no dropout.
        drop_path: rate at which the supernet drops edges for a sample (RobustDARTS, Zela et al. 2020,
            https://arxiv.org/abs/1909.09656: `Linear(0, 0.2)`); None for no drop-path.
        running_statistics: whether the supernet is evaluated with the running statistics of its batch norm, as `eval()`
            in official code of DARTS does, and not with those of the batch (docs/methods.md). Its weights' steps move
            them. It rules out fused cells and compiled kernels.

    Raises:
        UserError: there is no node or part, candidates are unknown, repeated, or only 'none', or a rate is outside
            [0, 1).

    Example:
        >>> space = DartsSpace()
        >>> sum(weight.numel() for weight in space.model(channels=16, cells=8, num_classes=10).parameters())
        1930618
    """

    name: ClassVar[str] = "darts"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "two cells of four nodes, seven operations on their edges (DARTS, Liu et al. 2019)"

    nodes: int = 4
    candidates: tuple[str, ...] = CANDIDATES
    edge_weights: bool = False
    partial_channels: int = 1
    auxiliary_skip: Schedule | None = None
    skip_dropout: Schedule | None = None
    drop_path: Schedule | None = None
    running_statistics: bool = of_search(False)

    def __post_init__(self) -> None:
        accept(self)
        check_count("nodes", self.nodes, most=MOST_NODES)
        unknown = [name for name in self.candidates if name not in OPERATIONS]
        if unknown:
            raise UserError(f"Unknown candidates {unknown}; known are {', '.join(OPERATIONS)}.")
        if len(set(self.candidates)) != len(self.candidates) or not self._keepable:
            raise UserError(f"candidates must be different and hold one besides 'none'; got {list(self.candidates)}.")
        _ = self._edge_settings  # raises if they do not fit

    @property
    def _keepable(self) -> tuple[str, ...]:
        return tuple(name for name in self.candidates if name not in EXCLUDED)

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
        return cell_decision(name, self.nodes, self.candidates)

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model; batch norm has a learned scale in the stem only."""
        return supernet_model(
            [self._cell_decision(name) for name in CELLS],
            self._edge_settings,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
        )

    def _searchable_cell(self, channels: int, reduction: bool) -> Cell:
        decision = self._cell_decision("reduce" if reduction else "normal")
        return searchable_cell(CellBuilder(self._edge_settings, SEARCH), decision, channels)

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
        """The network that DARTS evaluates on CIFAR-10, or the one with its ImageNet stem.

        `dnas.space.drop_path.set_drop_path` sets its drop-path, which starts at 0.
        """
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
        """Check that `network` can build this architecture; 'reduce' may be missing, for networks of one cell."""
        check_space(self, architecture)
        check_cells(architecture)

    def random(self, generator: torch.Generator) -> Architecture:
        """Two different incoming edges for each node, each with an operation other than 'none', uniformly."""
        return self.architecture({name: random_cell(self._cell_decision(name), generator) for name in CELLS})

    def size(self) -> int:
        """(product over nodes of pairs of incoming edges x operations^2) squared; about 1e18 with 7 operations."""
        return math.prod(num_cells(self._cell_decision(name)) for name in CELLS)


# Shared by the spaces with cells like those of DARTS


def cell_decision(
    name: str, nodes: int, candidates: tuple[str, ...], on_edges: tuple[tuple[str, ...], ...] = ()
) -> Decision:
    """The decision of a cell in which each node sees all earlier states, and whose output is all nodes.

    Args:
        name: 'normal' or 'reduce'.
        nodes: number of nodes of the cell, besides its inputs.
        candidates: candidates on each edge.
        on_edges: the candidates of each edge, if they differ.
    """
    output = tuple(range(NUM_INPUTS, NUM_INPUTS + nodes))
    edges = tuple((i, j) for j in output for i in range(j))
    excluded = tuple(name for name in candidates if name in EXCLUDED)
    return Decision(name, "operations", candidates, edges, NUM_KEPT, excluded, output, on_edges)


def supernet_model(
    decisions: Sequence[Decision],
    settings: EdgeSettings,
    *,
    channels: int,
    cells: int,
    num_classes: int,
    in_channels: int,
    stem: Stem,
) -> Skeleton:
    """The supernet's model, whose normal and reduction cells leave `decisions` open."""
    return _with_open_cells(
        decisions,
        CellBuilder(settings, SEARCH),
        channels=channels,
        cells=cells,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
    )


def undecided_network(
    decisions: Sequence[Decision], *, channels: int, cells: int, num_classes: int, in_channels: int, stem: Stem
) -> Skeleton:
    """The evaluation network before its normal and reduction cell are decided."""
    return _with_open_cells(
        decisions,
        CellBuilder(EdgeSettings(), EVALUATION),
        channels=channels,
        cells=cells,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
    )


def _with_open_cells(
    decisions: Sequence[Decision],
    builder: CellBuilder,
    *,
    channels: int,
    cells: int,
    num_classes: int,
    in_channels: int,
    stem: Stem,
) -> Skeleton:
    normal, reduce = decisions
    maker = CellMaker(
        lambda width, reduction: searchable_cell(builder, reduce if reduction else normal, width),
        len(normal.output),
        len(reduce.output),
    )
    return Skeleton(
        maker,
        channels=channels,
        cells=cells,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
        auxiliary=False,
        form=builder.form,
    )


def searchable_cell(builder: CellBuilder, decision: Decision, channels: int) -> Cell:
    """A normal or a reduction cell, according to the decision's name."""
    strides = [_stride(source, decision.name == "reduce") for source, _ in decision.edges]
    return builder.cell(decision, channels, num_inputs=NUM_INPUTS, strides=strides)


def evaluation_network(
    architecture: Architecture,
    *,
    channels: int,
    cells: int,
    num_classes: int,
    in_channels: int,
    stem: Stem,
    auxiliary: bool,
) -> Skeleton:
    """The evaluation network of an architecture that passed `check_cells`.

    Raises:
        UserError: there is no reduction cell, but the network has more than one cell.
    """
    found = {name: kept for name, kept in architecture.decisions.items() if isinstance(kept, CellArchitecture)}
    if "reduce" not in found and cells > 1:
        raise UserError(
            f"The architecture has no 'reduce' cell (it was found in a network of one cell); "
            f"a network of {cells} cells needs one: search with 2 or more cells."
        )
    normal, reduce = found["normal"], found.get("reduce", found["normal"])
    maker = CellMaker(
        lambda width, reduction: _plain_cell(reduce if reduction else normal, width, reduction),
        len(normal.output),
        len(reduce.output),
    )
    return Skeleton(
        maker,
        channels=channels,
        cells=cells,
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
        auxiliary=auxiliary,
        form=EVALUATION,
    )


def check_cells(architecture: Architecture) -> None:
    """Check that a network can be built from the architecture's cells.

    Raises:
        UserError: it has other cells than 'normal' and 'reduce', or one that cannot be built.
    """
    if set(architecture.decisions) not in ({"normal", "reduce"}, {"normal"}):
        raise UserError(
            f"An architecture of the space {architecture.space!r} has the cells 'normal' and 'reduce'; "
            f"this one has {sorted(architecture.decisions)}."
        )
    for name, cell in architecture.decisions.items():
        # The inputs of a reduction cell are larger than its nodes, so they cannot be concatenated with them.
        check_cell(name, cell, num_inputs=NUM_INPUTS, first_output=NUM_INPUTS if name == "reduce" else 0)


def random_cell(decision: Decision, generator: torch.Generator) -> CellArchitecture:
    """Two different incoming edges for each node, each with one of the operations that may be kept there, uniformly."""
    kept = []
    for node in decision.nodes:
        incoming = decision.incoming(node)
        for number in draw_distinct(len(incoming), NUM_KEPT, generator):
            names = _keepable(decision, incoming[number])
            kept.append(KeptEdge(*decision.edges[incoming[number]], names[draw(len(names), generator)]))
    return CellArchitecture(tuple(kept), decision.output)


def num_cells(decision: Decision) -> int:
    """The number of cells that `random_cell` can draw."""
    return math.prod(
        sum(
            math.prod(len(_keepable(decision, edge)) for edge in kept)
            for kept in combinations(decision.incoming(node), NUM_KEPT)
        )
        for node in decision.nodes
    )


def _keepable(decision: Decision, edge: int) -> list[str]:
    return [name for name in decision.names(edge) if name not in decision.excluded]


def _stride(source: int, reduction: bool) -> int:
    """The edges from the inputs of a reduction cell halve the image."""
    return 2 if reduction and source < NUM_INPUTS else 1


def _plain_cell(cell: CellArchitecture, channels: int, reduction: bool) -> PlainCell:
    operations = [
        operation(edge.operation, channels, _stride(edge.source, reduction), EVALUATION) for edge in cell.edges
    ]
    return PlainCell(
        [(edge.source, edge.target) for edge in cell.edges],
        [module if isinstance(module, nn.Identity) else nn.Sequential(module, DropPath()) for module in operations],
        num_inputs=NUM_INPUTS,
        output=cell.output,
    )
