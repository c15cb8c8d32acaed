"""A network of cells: a row of boxes that wraps, with arcs past the next box where a cell takes two inputs."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.picture.palette import BLUE, GREY, ORANGE
from dnas.picture.svg import fill, stroke, tag, text, text_width

_HEIGHT, _GAP, _MARGIN, _HEAD, _WIDE, _ROW = 40.0, 24.0, 18.0, 46.0, 780.0, 84.0
# What a box is -> its colour.
_COLOURS = {"reduce": ORANGE, "residual": ORANGE, "stem": GREY, "classifier": GREY}


def stack_group(title: str, layers: Sequence[str], *, takes_two: bool) -> tuple[float, float, list[str]]:
    """Width, height and shapes of a network.

    Args:
        title: words above it.
        layers: what each box is, such as 'stem', 'normal', 'reduce', 'classifier', in order.
        takes_two: whether a cell also takes the output of the box before the last; the classifier takes one.
    """
    width = max(text_width(layer) for layer in layers) + 26
    in_row = max(int((_WIDE - 2 * _MARGIN + _GAP) // (width + _GAP)), 1)
    shapes = [text(_MARGIN, 26, title, bold=True, size=14)]
    for index, layer in enumerate(layers):
        row, place = divmod(index, in_row)
        x, y = _MARGIN + place * (width + _GAP), _MARGIN + _HEAD + row * _ROW
        shapes.append(_box(x, y, width, layer))
        if index + 1 < len(layers):
            shapes.append(_arrow(x + width, y + _HEIGHT / 2, is_last=place == in_row - 1))
        if takes_two and place + 2 < in_row and index + 2 < len(layers) - 1:
            shapes.append(_arc(x + width / 2, x + width / 2 + 2 * (width + _GAP), y))
    rows, columns = -(-len(layers) // in_row), min(in_row, len(layers))
    total = max(2 * _MARGIN + columns * width + (columns - 1) * _GAP, text_width(title, 14) + 2 * _MARGIN)
    return total, _MARGIN + _HEAD + rows * _ROW - _ROW + _HEIGHT + _MARGIN, shapes


def _box(x: float, y: float, width: float, layer: str) -> str:
    frame = {"x": x, "y": y, "width": width, "height": _HEIGHT, "rx": 7, **fill("box")}
    return tag(
        "g",
        {},
        tag("rect", {**frame, "stroke": _COLOURS.get(layer, BLUE), "stroke-width": 1.6}),
        text(x + width / 2, y + 25, layer, anchor="middle"),
    )


def _arrow(x: float, y: float, *, is_last: bool) -> str:
    """An arrow to the next box; at the end of a row a short one that says that it goes on below."""
    end = x + (9 if is_last else _GAP - 7)
    tip = f"{end:.1f},{y - 4:.1f} {end + 7:.1f},{y:.1f} {end:.1f},{y + 4:.1f}"
    line = tag("path", {"d": f"M{x:.1f} {y:.1f} H{end:.1f}", **stroke("wire"), "stroke-width": 1.5})
    return line + tag("polygon", {"points": tip, **fill("wire")})


def _arc(start: float, end: float, y: float) -> str:
    """An arc above the boxes, from one to the one after the next."""
    path = f"M{start:.1f} {y:.1f} C{start:.1f} {y - 30:.1f} {end - 8:.1f} {y - 30:.1f} {end - 8:.1f} {y - 2:.1f}"
    tip = f"{end - 12:.1f},{y - 7:.1f} {end - 4:.1f},{y - 7:.1f} {end - 8:.1f},{y:.1f}"
    line = tag("path", {"d": path, **stroke("wire"), "stroke-width": 1.2})
    return line + tag("polygon", {"points": tip, **fill("wire")})
