"""The candidates that an architecture may keep, as numbered items in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active


class Item(NamedTuple):
    """A candidate that may be kept: of a choice, of an input choice (an input), or on an edge of a cell.

    Args:
        decision: name of the decision.
        row: the edge of a cell; 0 for choices.
        candidate: its number.
    """

    decision: str
    row: int
    candidate: int


@dataclass(frozen=True)
class Group:
    """Items of one decision, of which at least `least` and at most `most` are kept.

    Args:
        decision: name of the decision.
        rows: the items by row; each row keeps at most one. A row is a choice, an input, or an edge into one node; for
            independent gates it is a single candidate.
        least, most: smallest and largest number of items that are kept.
    """

    decision: str
    rows: tuple[tuple[Item, ...], ...]
    least: int
    most: int

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for row in self.rows for item in row)


def groups(
    decisions: Mapping[str, Decision],
    options: Mapping[str, Active],
    *,
    independent: bool = False,
    one_per_edge: bool = False,
) -> list[Group]:
    """The groups of all decisions, in order; a cell has one for each node.

    Args:
        decisions: the decisions; weights of edges are skipped.
        options: for each row of each decision, the candidates that may be kept.
        independent: whether cells and input choices are gates, which keep one item or more up to a limit, and may keep
            several on one edge (`dnas.discretization.Threshold`); otherwise they keep a fixed number, one on each edge.
        one_per_edge: whether independent gates of an edge keep one at most.
    """
    found: list[Group] = []
    for name, decision in decisions.items():
        if decision.kind == "edges":
            continue
        rows = options[name]
        if decision.kind == "choice":
            found.append(_group(name, [[Item(name, 0, k) for k in rows[0]]], 1, False))
        elif decision.kind == "inputs":
            found.append(_group(name, [[Item(name, 0, k)] for k in rows[0]], decision.num_kept, independent))
        else:
            for node in decision.nodes:
                edges = [[Item(name, edge, k) for k in rows[edge]] for edge in decision.incoming(node)]
                found.append(_group(name, edges, decision.num_kept, independent, one_per_edge))
    return found


def _group(
    name: str, rows: Sequence[Sequence[Item]], num_kept: int | None, independent: bool, one_per_edge: bool = False
) -> Group:
    if independent and not one_per_edge:
        rows = [[item] for row in rows for item in row]
    rows = [row for row in rows if row]
    most = min(num_kept or len(rows), len(rows))
    return Group(name, tuple(map(tuple, rows)), 1 if independent else most, most)


def items_of(kept: Mapping[str, Kept], decisions: Mapping[str, Decision]) -> list[Item]:
    """The items that an architecture keeps; a candidate that is kept twice on an edge is repeated."""
    found: list[Item] = []
    for name, what in kept.items():
        decision = decisions[name]
        if isinstance(what, CellArchitecture):
            for edge in what.edges:
                row = decision.edges.index((edge.source, edge.target))
                found.append(Item(name, row, decision.names(row).index(edge.operation)))
        else:
            names = (what,) if isinstance(what, str) else what
            found += [Item(name, 0, decision.candidates.index(candidate)) for candidate in names]
    return found


def kept_of(items: Sequence[Item], decisions: Mapping[str, Decision]) -> dict[str, Kept]:
    """The kept part of each decision for these items; the inverse of `items_of`."""
    rows: dict[str, list[Item]] = {name: [] for name, one in decisions.items() if one.kind != "edges"}
    for item in sorted(items, key=lambda item: (item.row, item.candidate)):
        rows[item.decision].append(item)
    return {name: _kept(decisions[name], own) for name, own in rows.items()}


def _kept(decision: Decision, items: Sequence[Item]) -> Kept:
    names = [decision.names(item.row)[item.candidate] for item in items]
    if decision.kind == "choice":
        return names[0]
    if decision.kind == "inputs":
        return tuple(names)
    edges = [KeptEdge(*decision.edges[item.row], name) for item, name in zip(items, names, strict=True)]
    return CellArchitecture(tuple(edges), decision.output)


def allowed(decisions: Mapping[str, Decision]) -> dict[str, Active]:
    """For each row of each decision, the candidates that may be kept: all that are not excluded."""
    return {
        name: tuple(
            tuple(k for k, candidate in enumerate(decision.names(row)) if candidate not in decision.excluded)
            for row in range(decision.num_rows)
        )
        for name, decision in decisions.items()
        if decision.kind != "edges"
    }


def first(decisions: Mapping[str, Decision]) -> dict[str, Kept]:
    """An architecture: the first candidates that may be kept."""
    items = [row[0] for group in groups(decisions, allowed(decisions)) for row in group.rows[: group.most]]
    return kept_of(items, decisions)
