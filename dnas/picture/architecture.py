"""Architectures as pictures: each cell as a graph, all other decisions as a row of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dnas.picture.cell import MOST_EDGES, CellPicture, cell_group
from dnas.picture.chain import MOST_BOXES, chain_group
from dnas.picture.stack import stack_group
from dnas.picture.svg import moved, sheet
from dnas.system.errors import UserError

# Spaces whose decisions follow one another in the network.
_CHAINS = ("mobile", "transformer")
_RECURRENT = "darts_rnn"
# What stands above a network, by whether its cells take two inputs.
_NETWORK = {False: "the network, and its cell below", True: "the network: each cell takes the two before it"}


def architecture_svg(data: Mapping[str, Any], layers: Sequence[str] = ()) -> str:
    """The picture of an architecture.

    Args:
        data: plain data of an architecture that has been checked, as `Architecture.to_data` gives it.
        layers: the network above its cells, from stem to classifier; none for the cells alone.

    Raises:
        UserError: it decides nothing, or is too large to be drawn.

    Example:
        >>> svg = architecture_svg({"space": "module", "decisions": {"op": "conv"}})
        >>> svg.startswith("<svg") and "conv" in svg
        True
    """
    cells = cells_of(data)
    groups = [cell_group(name, cell) for name, cell in cells.items()]
    if layers:
        takes_two = any(len(cell.inputs) == 2 for cell in cells.values())
        groups.insert(0, stack_group(_NETWORK[takes_two], layers, takes_two=takes_two))
    others = choices_of(data)
    if len(others) > MOST_BOXES:
        raise UserError(f"The architecture has {len(others)} decisions; pictures show {MOST_BOXES} at most.")
    if others:
        joined = data["space"] in _CHAINS
        groups.append(
            chain_group(f"{data['space']}: layers in order" if joined else "decisions", others, joined=joined)
        )
    if not groups:
        raise UserError("The architecture holds no decision, so there is nothing to draw.")
    shapes, below = [], 0.0
    for _, height, own in groups:
        shapes.append(moved(0, below, own))
        below += height
    return sheet(
        max(width for width, _, _ in groups), below, shapes, label=f"Architecture of the space {data['space']}"
    )


def cells_of(data: Mapping[str, Any]) -> dict[str, CellPicture]:
    """The cells of an architecture, by the name of their decision.

    Raises:
        UserError: one has too many edges to be drawn.
    """
    found = {}
    for name, kept in data["decisions"].items():
        if isinstance(kept, Mapping):
            edges = tuple((source, target, operation) for source, target, operation in kept["edges"])
            if len(edges) > MOST_EDGES or max((edge[1] for edge in edges), default=0) > MOST_EDGES:
                raise UserError(f"The cell {name!r} has {len(edges)} edges; pictures show {MOST_EDGES} at most.")
            number = min((target for _, target, _ in edges), default=1)
            merged = "mean" if data["space"] == _RECURRENT else "concat"
            found[name] = CellPicture(edges, tuple(kept["output"]), _inputs(data["space"], number), merged)
    return found


def choices_of(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The other decisions in order: name, and what was chosen."""
    return [
        (name, kept if isinstance(kept, str) else ", ".join(kept))
        for name, kept in data["decisions"].items()
        if not isinstance(kept, Mapping)
    ]


def _inputs(space: str, number: int) -> tuple[str, ...]:
    """Names of a cell's inputs: for two, the cells before, as in DARTS."""
    if space == _RECURRENT:
        return ("x, h",) if number == 1 else tuple(f"input {index}" for index in range(number))
    known = {1: ("input",), 2: ("cell k-2", "cell k-1")}
    return known.get(number, tuple(f"input {index}" for index in range(number)))
