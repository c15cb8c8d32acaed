"""The recurrent space of DARTS: a cell of gated nodes, for language models.

Liu et al. 2019, https://arxiv.org/abs/1806.09055, sections 2.1 and 3.1, appendix A.1.2 and A.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dnas.core.architecture import Architecture, CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.space.base import MOST_NODES, check_count, draw
from dnas.space.recurrent_model import (
    ACTIVATIONS,
    SEARCH_DROPOUT,
    PlainRecurrentNodes,
    RecurrentDropout,
    RecurrentLanguageModel,
    RecurrentNodes,
    initial,
)
from dnas.system.accepted import accept
from dnas.system.errors import UserError

NAME = "recurrent"
CANDIDATES = ("none", "tanh", "relu", "sigmoid", "identity")


@dataclass(frozen=True)
class RecurrentSpace:
    """One recurrent cell: nodes that each keep one state before them and one activation.

    State 0 is made of input and hidden state, states 1 to `nodes` are the nodes, and the mean of the nodes is the new
    hidden state. An architecture has the one decision 'recurrent'.

    This is not a `dnas.Space`, whose models take images; it has the same methods, with sizes of its own.

    Args:
        nodes: number of nodes of the cell.
        candidates: candidates on each edge, from 'none' and `ACTIVATIONS`; 'none' takes part in the search, but is
            never kept.

    Raises:
        UserError: there is no node, or candidates are unknown, repeated, or only 'none'.

    Example:
        >>> space = RecurrentSpace()
        >>> space.size() == math.factorial(8) * 4**8
        True
    """

    name: ClassVar[str] = "darts_rnn"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a recurrent cell of eight nodes, four activations, for text (DARTS, Liu et al. 2019)"

    nodes: int = 8
    candidates: tuple[str, ...] = CANDIDATES

    def __post_init__(self) -> None:
        accept(self)
        check_count("nodes", self.nodes, most=MOST_NODES)
        unknown = [name for name in self.candidates if name != "none" and name not in ACTIVATIONS]
        if unknown:
            raise UserError(f"Unknown candidates {unknown}; known are none, {', '.join(ACTIVATIONS)}.")
        if len(set(self.candidates)) != len(self.candidates) or not self._keepable:
            raise UserError(f"candidates must be different and hold one besides 'none'; got {list(self.candidates)}.")

    @property
    def _keepable(self) -> tuple[str, ...]:
        return tuple(name for name in self.candidates if name != "none")

    @property
    def arguments(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"nodes": self.nodes, "candidates": list(self.candidates)}

    def architecture(self, kept: Mapping[str, Kept]) -> Architecture:
        """An architecture of this space that keeps `kept`, by decision name."""
        return Architecture(dict(kept), self.name, self.version, self.arguments)

    def decisions(self) -> dict[str, Decision]:
        """The one decision, without building a model: one incoming edge stays for each node, and never 'none'."""
        nodes = range(1, self.nodes + 1)
        edges = tuple((i, j) for j in nodes for i in range(j))
        excluded = tuple(name for name in self.candidates if name == "none")
        return {NAME: Decision(NAME, "operations", self.candidates, edges, 1, excluded, tuple(nodes))}

    def model(
        self, *, vocabulary: int, hidden: int = 300, dropout: RecurrentDropout = SEARCH_DROPOUT
    ) -> RecurrentLanguageModel:
        """The supernet's model: tokens (T, B) to scores of the next tokens, see `RecurrentLanguageModel`.

        States are normalised over the batch, without learned scale, which needs 2 rows or more. The official code
        evaluates a supernet with running statistics; ours uses those of the batch in evaluation, too.

        Args:
            vocabulary: number of different tokens.
            hidden: units of the hidden state and of the embedding, 300 in the paper.
            dropout: probabilities of dropout; by default those of the paper's search.

        Raises:
            UserError: a number below 1.
        """
        _check_size({"vocabulary": vocabulary, "hidden": hidden})
        return RecurrentLanguageModel(
            RecurrentNodes(hidden, self.decisions()[NAME]), vocabulary=vocabulary, hidden=hidden, dropout=dropout
        )

    def network(
        self,
        architecture: Architecture,
        *,
        vocabulary: int,
        hidden: int = 850,
        dropout: RecurrentDropout = RecurrentDropout(),
    ) -> RecurrentLanguageModel:
        """The evaluation network of the paper, with new weights and without batch norm.

        Args:
            architecture: any number of nodes.
            vocabulary: number of different tokens; 10,000 for Penn Treebank.
            hidden: units of the hidden state and of the embedding, 850 in the paper.
            dropout: probabilities of dropout; by default those of the paper's evaluation.

        Raises:
            UserError: the architecture is not of this space, or a number is below 1.
        """
        self.check(architecture)
        _check_size({"vocabulary": vocabulary, "hidden": hidden})
        cell = architecture.decisions[NAME]
        assert isinstance(cell, CellArchitecture)
        weights = nn.ParameterList(initial(hidden, 2 * hidden) for _ in range(_num_nodes(cell)))
        nodes = PlainRecurrentNodes(cell, weights, normalised=False)
        return RecurrentLanguageModel(nodes, vocabulary=vocabulary, hidden=hidden, dropout=dropout)

    def check(self, architecture: Architecture) -> None:
        """Check that `network` can build this architecture, which may have any number of nodes and any output list.

        Raises:
            UserError: it cannot; the message names the reason.
        """
        if (architecture.space, architecture.version) != (self.name, self.version):
            raise UserError(
                f"The architecture belongs to space {architecture.space!r}, version {architecture.version}; "
                f"expected {self.name!r}, version {self.version}."
            )
        if set(architecture.decisions) != {NAME}:
            raise UserError(
                f"An architecture of the space {self.name!r} has the one cell {NAME!r}; "
                f"this one has {sorted(architecture.decisions)}."
            )
        check_recurrent(architecture.decisions[NAME])

    def random(self, generator: torch.Generator) -> Architecture:
        """One state before each node and one activation other than 'none', uniformly; the generator is on the CPU."""
        edges = [
            KeptEdge(draw(node, generator), node, self._keepable[draw(len(self._keepable), generator)])
            for node in range(1, self.nodes + 1)
        ]
        return self.architecture({NAME: CellArchitecture(tuple(edges), tuple(range(1, self.nodes + 1)))})

    def size(self) -> int:
        """The number of architectures that `random` can draw: nodes! x activations^nodes; 2.6e9 for DARTS."""
        return math.factorial(self.nodes) * len(self._keepable) ** self.nodes


def check_recurrent(cell: Kept) -> None:
    """Check that a network can be built of this cell.

    Raises:
        UserError: it is not a cell, an activation is unknown, or an edge or an output leads nowhere.
    """
    if not isinstance(cell, CellArchitecture):
        raise UserError(f"{NAME!r} must be a cell with edges and output; got {cell!r}.")
    targets = [edge.target for edge in cell.edges]
    for edge in cell.edges:
        if edge.operation not in ACTIVATIONS:
            raise UserError(f"Unknown activation {edge.operation!r}; known are {', '.join(ACTIVATIONS)}.")
        if not 0 <= edge.source < edge.target:
            raise UserError(f"Cell {NAME!r} has an edge from state {edge.source} to {edge.target}; edges go upward.")
    if targets != sorted(targets) or set(targets) != set(range(1, _num_nodes(cell) + 1)):
        raise UserError(
            f"Cell {NAME!r} needs edges into each of the states from 1 on, in order of their targets; got {targets}."
        )
    if not cell.output or any(not 0 <= index <= _num_nodes(cell) for index in cell.output):
        raise UserError(f"Cell {NAME!r} must give out states from 0 to {_num_nodes(cell)}; got {list(cell.output)}.")


def _num_nodes(cell: CellArchitecture) -> int:
    return max((edge.target for edge in cell.edges), default=0)


def _check_size(sizes: Mapping[str, int]) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"{name} must be 1 or more; got {value}.")
