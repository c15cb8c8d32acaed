"""Cells as graphs: states as circles, the operation of each edge in a box of its own.

Pictures of the same cell at several times share one layout, so that what stays the same stays in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dnas.picture.layered import Box, Key, Placed, Point, placed
from dnas.picture.palette import colour_of
from dnas.picture.svg import cut, fill, moved, sheet, stroke, tag, text, text_width

MOST_EDGES = 150  # of one cell; published ones have 14 at most
_STATE, _ROW, _MARGIN, _HEAD = 32.0, 28.0, 18.0, 30.0


@dataclass(frozen=True)
class CellPicture:
    """What is drawn of a cell.

    Args:
        edges: (source state, target state, operation), upward.
        output: states that the output is made of.
        inputs: names of the input states, which are the first ones.
        merged: how the output is made of several states, such as 'concat'.
    """

    edges: tuple[tuple[int, int, str], ...]
    output: tuple[int, ...]
    inputs: tuple[str, ...]
    merged: str = "concat"

    @property
    def slots(self) -> list[tuple[int, int, int]]:
        """(source, target, number of this edge among those between the two) of each edge."""
        seen: Counter[tuple[int, int]] = Counter()
        found = []
        for source, target, _ in self.edges:
            found.append((source, target, seen[source, target]))
            seen[source, target] += 1
        return found


def cell_pictures(name: str, cells: Sequence[CellPicture]) -> list[str]:
    """A cell at several times, each as an SVG of the same size in which states have the same places.

    Args:
        name: the title.
        cells: one or more, with the same inputs.
    """
    layout = _layout(cells)
    width = max(layout.width, text_width(name)) + 2 * _MARGIN
    height = layout.height + 2 * _MARGIN + _HEAD
    return [
        sheet(width, height, [_title(name), moved(_MARGIN, _MARGIN + _HEAD, _parts(cell, layout))], label=_words(name))
        for cell in cells
    ]


def cell_group(name: str, cell: CellPicture) -> tuple[float, float, list[str]]:
    """Width, height and shapes of one cell with its title, to be put into a larger picture."""
    layout = _layout([cell])
    shapes = [_title(name), moved(_MARGIN, _MARGIN + _HEAD, _parts(cell, layout))]
    return max(layout.width, text_width(name)) + 2 * _MARGIN, layout.height + 2 * _MARGIN + _HEAD, shapes


def _words(name: str) -> str:
    return f"Graph of the cell {name}"


def _title(name: str) -> str:
    return text(_MARGIN, 26, cut(name), bold=True, size=14)


def _layout(cells: Sequence[CellPicture]) -> Placed:
    """Places for all states and edges that any of the cells has."""
    columns = _columns(cells)
    boxes: dict[Key, Box] = {}
    links: dict[tuple[Key, Key], None] = {}
    inputs = cells[0].inputs
    for index in range(max(columns) + 1):
        is_input = index < len(inputs)
        width = text_width(inputs[index]) + 18 if is_input else _STATE
        boxes["state", index] = Box(columns.get(index, 0), width, _STATE)
    labels: dict[tuple[int, int, int], float] = {}
    for cell in cells:
        for slot, (_, _, operation) in zip(cell.slots, cell.edges, strict=True):
            labels[slot] = max(labels.get(slot, 0), text_width(cut(operation)) + 22)
    for (source, target, number), width in sorted(labels.items()):
        boxes["edge", source, target, number] = Box(columns[target] - 1, width, _ROW)
        links[("state", source), ("edge", source, target, number)] = None
        links[("edge", source, target, number), ("state", target)] = None
    word = max((_output_words(cell) for cell in cells), key=len)
    boxes["output"] = Box(max(columns.values()) + 1, text_width(word) + 18, _STATE)
    links |= {(("state", state), "output"): None for cell in cells for state in sorted(set(cell.output))}
    return placed(boxes, list(links))


def _columns(cells: Sequence[CellPicture]) -> dict[int, int]:
    """The column of each state: after all that lead to it in any of the cells, with a column between for the edges."""
    edges = sorted({(target, source) for cell in cells for source, target, _ in cell.edges})
    last = max([*(target for target, _ in edges), *(state for cell in cells for state in cell.output)], default=0)
    columns = dict.fromkeys(range(max(last + 1, len(cells[0].inputs))), 0)
    for target, source in edges:
        columns[target] = max(columns[target], columns[source] + 2)
    return columns


def _parts(cell: CellPicture, layout: Placed) -> list[str]:
    used = {index for source, target, _ in cell.edges for index in (source, target)} | set(cell.output)
    wires, shapes = [], []
    for slot, (source, target, operation) in zip(cell.slots, cell.edges, strict=True):
        key = ("edge", *slot)
        wires += [
            _wire(layout, ("state", source), key, _half(cell, source), _pill_half(operation)),
            _wire(layout, key, ("state", target), _pill_half(operation), _STATE / 2, arrow=True),
        ]
        shapes.append(_pill(layout.centres[key], operation))
    half = (text_width(_output_words(cell)) + 18) / 2
    wires += [_wire(layout, ("state", s), "output", _half(cell, s), half, arrow=True) for s in sorted(set(cell.output))]
    for index in sorted(used | set(range(len(cell.inputs)))):
        at = layout.centres["state", index]
        is_input = index < len(cell.inputs)
        shapes.append(_round(at, cell.inputs[index] if is_input else str(index), 2 * _half(cell, index)))
    shapes.append(_round(layout.centres["output"], _output_words(cell), 2 * half))
    return [*wires, *shapes]


def _half(cell: CellPicture, index: int) -> float:
    """Half of a state's width."""
    return (text_width(cell.inputs[index]) + 18) / 2 if index < len(cell.inputs) else _STATE / 2


def _pill_half(operation: str) -> float:
    return (text_width(cut(operation)) + 22) / 2


def _output_words(cell: CellPicture) -> str:
    return "output" if len(set(cell.output)) == 1 else f"output ({cell.merged})"


def _pill(at: Point, operation: str) -> str:
    x, y = at
    half = _pill_half(operation)
    colour = colour_of(operation)
    frame = {"x": x - half, "y": y - _ROW / 2 + 1, "width": 2 * half, "height": _ROW - 2, "rx": 7}
    band = {"x": x - half, "y": y - _ROW / 2 + 1, "width": 7, "height": _ROW - 2, "rx": 3, "fill": colour}
    line = {"stroke": colour, "stroke-width": 1.6}
    words = text(x + 3, y + 4.5, cut(operation), anchor="middle")
    return tag("g", {}, tag("rect", {**frame, **fill("box"), **line}), tag("rect", band), words)


def _round(at: Point, words: str, width: float) -> str:
    x, y = at
    shape = {"x": x - width / 2, "y": y - _STATE / 2, "width": width, "height": _STATE, "rx": _STATE / 2}
    rim = {"stroke": "#8a949e", "stroke-width": 1.4}
    return tag("g", {}, tag("rect", {**shape, **fill("box"), **rim}), text(x, y + 4.5, words, anchor="middle"))


def _wire(layout: Placed, source: Key, target: Key, left: float, right: float, *, arrow: bool = False) -> str:
    """A curve from the right side of a box to the left side of another, through the places of its route."""
    (x0, y0), (x1, y1) = layout.centres[source], layout.centres[target]
    end = x1 - right - (6 if arrow else 0)
    points = [(x0 + left, y0), *layout.routes[source, target], (end, y1)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (a, b), (c, d) in pairwise(points):
        middle = (a + c) / 2
        path += f" C{middle:.1f} {b:.1f} {middle:.1f} {d:.1f} {c:.1f} {d:.1f}"
    curve = tag("path", {"d": path, **stroke("wire"), "stroke-width": 1.5})
    if not arrow:
        return curve
    tip = f"{end:.1f},{y1 - 4:.1f} {end + 7:.1f},{y1:.1f} {end:.1f},{y1 + 4:.1f}"
    return curve + tag("polygon", {"points": tip, **fill("wire")})
