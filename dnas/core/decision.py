"""What one decision of a search is about: its candidates, its edges and what may be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["choice", "inputs", "operations", "edges"]


@dataclass(frozen=True)
class Decision:
    """One decision of a search; all choices of the same name share it.

    Args:
        name: name of the decision, unique in a model.
        kind: 'choice' keeps one candidate; 'inputs' keeps `num_kept` of the candidates, which are inputs;
            'operations' keeps one candidate on each kept edge of a cell; 'edges' weighs the edges of a cell,
            normalised over the incoming edges of a node (PC-DARTS, Xu et al. 2020, arXiv 1907.05737), and belongs to
            the operations decision of the same cell.
        candidates: names of the candidates; for 'edges' the names of the edges.
        edges: (source, target) state indices of a cell's edges, in order of target; empty for 'choice' and 'inputs'.
        num_kept: for 'inputs' the number of inputs that are kept; for 'operations' the number of incoming edges that a
            node keeps, or None for all.
        excluded: candidates that may win during search but are never kept, such as 'none' in DARTS (section 2.4).
        output: for 'operations', the state indices that a cell concatenates.
        on_edges: for 'operations', the names of the candidates on each edge, if edges have candidates of their own
            (`candidates` then only numbers them); empty if all edges have the same candidates.
    """

    name: str
    kind: Kind
    candidates: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    num_kept: int | None = None
    excluded: tuple[str, ...] = ()
    output: tuple[int, ...] = ()
    on_edges: tuple[tuple[str, ...], ...] = ()

    def names(self, row: int) -> tuple[str, ...]:
        """The candidates' names in one row: row r is edge r for operations; other kinds have a single row."""
        return self.on_edges[row] if self.on_edges else self.candidates

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the alphas: (E, K) for operations, (E,) for edges, (K,) otherwise."""
        return (len(self.edges), len(self.candidates)) if self.kind == "operations" else (len(self.candidates),)

    @property
    def num_rows(self) -> int:
        """Number of rows; a relaxation normalises each row separately."""
        return len(self.edges) if self.kind == "operations" else 1

    @property
    def nodes(self) -> tuple[int, ...]:
        """The target states of the edges, each once, in ascending order."""
        return tuple(dict.fromkeys(target for _, target in self.edges))

    def incoming(self, node: int) -> tuple[int, ...]:
        """Indices of the edges that enter `node`."""
        return tuple(index for index, (_, target) in enumerate(self.edges) if target == node)

    def difference(self, other: Decision) -> str | None:
        """The first field in which the two decisions differ, in words; None if they are equal."""
        for field in ("kind", "candidates", "edges", "num_kept", "excluded", "output", "on_edges"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                return f"{field}: {mine} and {theirs}"
        return None


def edges_name(cell_name: str) -> str:
    """Name of the edge decision that belongs to the operations decision `cell_name`."""
    return f"{cell_name}.edges"
