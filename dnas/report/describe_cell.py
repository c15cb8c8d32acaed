"""Description of a recurrent cell: its nodes as a tree, and the parameters and FLOPs of its language model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from dnas.core.architecture import Architecture, CellArchitecture
from dnas.cost import count_parameters, flops_by_module
from dnas.formats import architecture_text
from dnas.space.recurrent import NAME, RecurrentSpace
from dnas.system.words import aligned


@dataclass(frozen=True)
class CellDescription:
    """A recurrent cell, and its language model in numbers.

    Args:
        genotype: the cell as text.
        tree: lines that show which state each node is made of.
        hidden: units of the hidden state and of the embedding.
        vocabulary: number of different tokens.
        parameters: parameters of the whole model.
        flops: FLOPs of one forward pass over one token in evaluation mode, 2 for each multiply-add.
        parts: name, parameters and FLOPs of each part; they add up to those of the model.
    """

    genotype: str
    tree: tuple[str, ...]
    hidden: int
    vocabulary: int
    parameters: int
    flops: int
    parts: tuple[tuple[str, int, int], ...]

    def to_json(self) -> str:
        """Indented JSON."""
        parts = [{"name": name, "parameters": weights, "flops": flops} for name, weights, flops in self.parts]
        return json.dumps({**asdict(self), "parts": parts}, indent=2)

    def to_text(self) -> str:
        """The genotype, the tree, and a table with aligned columns."""
        rows = [("part", "parameters", "FLOPs"), *((n, f"{p:,}", f"{f:,}") for n, p, f in self.parts)]
        rows.append(("total", f"{self.parameters:,}", f"{self.flops:,}"))
        sizes = f"Language model of {self.hidden:,} hidden units and {self.vocabulary:,} different tokens:"
        note = "FLOPs: one token, forward, evaluation mode; a multiply-add is 2."
        return "\n".join([self.genotype, "", *self.tree, "", sizes, *aligned(rows, "<>>"), note])


def describe_cell(architecture: Architecture, *, hidden: int = 850, vocabulary: int = 10_000) -> CellDescription:
    """Describe a recurrent cell in the network that trains it; nothing is computed.

    Args:
        architecture: an architecture of the recurrent space.
        hidden: units of the hidden state and of the embedding; 850 in DARTS.
        vocabulary: number of different tokens; 10,000 for Penn Treebank.

    Raises:
        UserError: it belongs to another space, has a cell that cannot be built, or a size is below 1.

    Example:
        >>> from dnas.formats import published
        >>> describe_cell(published("DARTS_RNN_V2")).parameters
        22960000
        >>> print("\\n".join(describe_cell(published("DARTS_RNN_V1")).tree[:3]))
        0: input and hidden state
        `-- 1: relu of 0
            |-- 2: relu of 1
    """
    with torch.device("meta"):
        network = RecurrentSpace().network(architecture, vocabulary=vocabulary, hidden=hidden).eval()
        flops = flops_by_module(network, torch.zeros(1, 1, dtype=torch.int64))
    cell = architecture.decisions[NAME]
    assert isinstance(cell, CellArchitecture)
    nodes = flops.get("nodes", 0)
    gate = 2 * 2 * hidden * 2 * hidden  # (x, h) (1, 2 H) times W_0 (2 H, 2 H)
    return CellDescription(
        architecture_text(architecture),
        tuple(cell_tree(cell)),
        hidden,
        vocabulary,
        count_parameters(network),
        flops[""],
        (
            ("embedding, and decoder", network.encoder.weight.numel() + vocabulary, flops[""] - nodes - gate),
            ("input gate", network.gate.numel(), gate),
            (f"nodes 1 to {max(edge.target for edge in cell.edges)}", count_parameters(network.nodes), nodes),
        ),
    )


def cell_tree(cell: CellArchitecture) -> Iterator[str]:
    """Each node below the state that it is made of; nodes after a node with several states stand at its first one.

    Example:
        >>> from dnas import KeptEdge
        >>> edges = (KeptEdge(0, 1, "tanh"), KeptEdge(1, 2, "relu"), KeptEdge(0, 3, "identity"))
        >>> print("\\n".join(cell_tree(CellArchitecture(edges, (2, 3)))))
        0: input and hidden state
        |-- 1: tanh of 0
        |   `-- 2: relu of 1
        `-- 3: identity of 0
        new hidden state: the mean of 2, 3
    """
    shown = {0}

    def below(state: int, indent: str) -> Iterator[str]:
        edges = [edge for edge in cell.edges if edge.source == state]
        for index, edge in enumerate(edges):
            last = index == len(edges) - 1
            yield f"{indent}{'`-- ' if last else '|-- '}{edge.target}: {edge.operation} of {state}"
            if edge.target not in shown:
                shown.add(edge.target)
                yield from below(edge.target, indent + ("    " if last else "|   "))

    yield "0: input and hidden state"
    yield from below(0, "")
    yield f"new hidden state: the mean of {_states(cell.output)}"


def _states(output: tuple[int, ...]) -> str:
    first, last = min(output), max(output)
    run = len(output) > 2 and list(output) == list(range(first, last + 1))
    return f"{first} to {last}" if run else ", ".join(map(str, output))
