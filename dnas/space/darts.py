"""The convolutional space of DARTS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from dnas.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.choice import Cell, PlainCell
from dnas.decision import Decision, edges_name
from dnas.space.base import Space, Stem, check_cell, check_space, draw, draw_distinct
from dnas.space.drop_path import DropPath
from dnas.space.ops import EVALUATION, OPERATIONS, SEARCH, operation
from dnas.space.skeleton import CellMaker, Skeleton

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
NUM_INPUTS = 2
NUM_KEPT = 2


@dataclass(frozen=True)
class DartsSpace(Space):
    """Two cells, 'normal' and 'reduce': nodes that each keep two incoming edges with one operation each.

    Liu et al. 2019, https://arxiv.org/abs/1806.09055, section 3.1. A network has a reduction cell at one third and
    two thirds of its depth. Of two cells only the second is one, and a network of a single cell has only 'normal' in
    its model; what is found there cannot be built with more cells.

    Args:
        nodes: of each cell, besides its two inputs; its output concatenates them.
        candidates: on each edge, from `dnas.space.ops.OPERATIONS`; 'none' takes part in the search, and is not kept.
        edge_weights: whether each edge has a weight of its own (PC-DARTS, Xu et al. 2020,
            https://arxiv.org/abs/1907.05737).

    Raises:
        ValueError: no node, or candidates that are unknown, repeated, or nothing but 'none'.

    Example:
        >>> space = DartsSpace()
        >>> sum(weight.numel() for weight in space.model(channels=16, cells=8, num_classes=10).parameters())
        1930618
    """

    name: ClassVar[str] = "darts"
    version: ClassVar[int] = 1

    nodes: int = 4
    candidates: tuple[str, ...] = CANDIDATES
    edge_weights: bool = False

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError(f"nodes must be 1 or more; got {self.nodes}.")
        unknown = [name for name in self.candidates if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"Unknown candidates {unknown}; known are {', '.join(OPERATIONS)}.")
        if len(set(self.candidates)) != len(self.candidates) or not self._keepable:
            raise ValueError(f"candidates must be different and hold one besides 'none'; got {list(self.candidates)}.")

    @property
    def _keepable(self) -> tuple[str, ...]:
        # 'none' may win during search but is not kept: DARTS, section 2.4.
        return tuple(name for name in self.candidates if name != "none")

    @property
    def _excluded(self) -> tuple[str, ...]:
        return tuple(name for name in self.candidates if name == "none")

    @property
    def _edges(self) -> tuple[tuple[int, int], ...]:
        """Each node takes every state before it."""
        return tuple((i, j) for j in range(NUM_INPUTS, NUM_INPUTS + self.nodes) for i in range(j))

    @property
    def _output(self) -> tuple[int, ...]:
        return tuple(range(NUM_INPUTS, NUM_INPUTS + self.nodes))

    def decisions(self) -> dict[str, Decision]:
        found: dict[str, Decision] = {}
        for name in ("normal", "reduce"):
            found[name] = Decision(
                name, "operations", self.candidates, self._edges, NUM_KEPT, self._excluded, self._output
            )
            if self.edge_weights:
                edges = edges_name(name)
                found[edges] = Decision(edges, "edges", tuple(f"{i}->{j}" for i, j in self._edges), self._edges)
        return found

    def model(
        self, *, channels: int, cells: int, num_classes: int, in_channels: int = 3, stem: Stem = "cifar"
    ) -> nn.Module:
        """The supernet's model; batch norm uses the batch's statistics and has a learned scale in the stem only."""
        maker = CellMaker(self._searchable_cell, self.nodes, self.nodes)
        return Skeleton(
            maker,
            channels=channels,
            cells=cells,
            num_classes=num_classes,
            in_channels=in_channels,
            stem=stem,
            auxiliary=False,
            form=SEARCH,
        )

    def _searchable_cell(self, channels: int, reduction: bool) -> Cell:
        candidates = [
            {name: operation(name, channels, _stride(source, reduction), SEARCH) for name in self.candidates}
            for source, _ in self._edges
        ]
        return Cell(
            "reduce" if reduction else "normal",
            self._edges,
            candidates,
            num_inputs=NUM_INPUTS,
            output=self._output,
            num_kept=NUM_KEPT,
            excluded=self._excluded,
            edge_weights=self.edge_weights,
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
        """The network with which DARTS evaluates on CIFAR-10, or with its ImageNet stem.

        `dnas.space.drop_path.set_drop_path` sets its drop-path, which starts at 0.
        """
        self.check(architecture)
        found = {name: kept for name, kept in architecture.decisions.items() if isinstance(kept, CellArchitecture)}
        if "reduce" not in found and cells > 1:
            raise ValueError(
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

    def check(self, architecture: Architecture) -> None:
        """See that `network` can build this architecture; 'reduce' may be missing, for networks of one cell."""
        check_space(self, architecture)
        if set(architecture.decisions) not in ({"normal", "reduce"}, {"normal"}):
            raise ValueError(
                f"An architecture of the space {self.name!r} has the cells 'normal' and 'reduce'; "
                f"this one has {sorted(architecture.decisions)}."
            )
        for name, cell in architecture.decisions.items():
            # The inputs of a reduction cell are larger than its nodes, so they cannot be side by side with them.
            check_cell(name, cell, num_inputs=NUM_INPUTS, first_output=NUM_INPUTS if name == "reduce" else 0)

    def random(self, generator: torch.Generator) -> Architecture:
        """Two different incoming edges for each node, each with an operation other than 'none', uniformly."""
        return self.architecture({name: self._random_cell(generator) for name in ("normal", "reduce")})

    def _random_cell(self, generator: torch.Generator) -> CellArchitecture:
        edges = [
            KeptEdge(source, node, self._keepable[draw(len(self._keepable), generator)])
            for node in self._output
            for source in draw_distinct(node, NUM_KEPT, generator)
        ]
        return CellArchitecture(tuple(edges), self._output)

    def size(self) -> int:
        """(product over nodes of pairs of incoming edges x operations^2) squared; about 1e18 with 7 operations."""
        cell = math.prod(math.comb(node, NUM_KEPT) * len(self._keepable) ** NUM_KEPT for node in self._output)
        return cell**2


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
