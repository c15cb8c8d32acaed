"""Decisions that follow one another: a row of boxes that wraps, each with its name and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.picture.palette import colour_of
from dnas.picture.svg import cut, fill, stroke, tag, text, text_width

MOST_BOXES = 400
_HEIGHT, _GAP, _MARGIN, _HEAD, _WIDE = 48.0, 26.0, 18.0, 30.0, 780.0


def chain_group(title: str, decisions: Sequence[tuple[str, str]], *, joined: bool) -> tuple[float, float, list[str]]:
    """Width, height and shapes of a row of decisions.

    Args:
        title: words above it.
        decisions: name and what was chosen.
        joined: whether arrows lead from each to the next.
    """
    width = max(max(text_width(cut(name), 11), text_width(cut(kept))) + 28 for name, kept in decisions)
    in_row = max(int((_WIDE - 2 * _MARGIN + _GAP) // (width + _GAP)), 1)
    shapes = [text(_MARGIN, 26, cut(title), bold=True, size=14)]
    for index, (name, kept) in enumerate(decisions):
        row, place = divmod(index, in_row)
        x, y = _MARGIN + place * (width + _GAP), _MARGIN + _HEAD + row * (_HEIGHT + 20)
        shapes.append(_box(x, y, width, name, kept))
        if joined and index + 1 < len(decisions):
            shapes.append(_arrow(x + width, y + _HEIGHT / 2, is_last=place == in_row - 1))
    rows = -(-len(decisions) // in_row)
    columns = min(in_row, len(decisions))
    total = max(2 * _MARGIN + columns * width + (columns - 1) * _GAP, text_width(title, 14) + 2 * _MARGIN)
    return total, 2 * _MARGIN + _HEAD + rows * (_HEIGHT + 20) - 20, shapes


def _box(x: float, y: float, width: float, name: str, kept: str) -> str:
    colour = colour_of(kept)
    frame = {"x": x, "y": y, "width": width, "height": _HEIGHT, "rx": 7, **fill("box")}
    return tag(
        "g",
        {},
        tag("rect", {**frame, "stroke": colour, "stroke-width": 1.6}),
        tag("rect", {"x": x, "y": y, "width": 7, "height": _HEIGHT, "rx": 3, "fill": colour}),
        text(x + 16, y + 19, cut(name), size=11, tone="soft"),
        text(x + 16, y + 37, cut(kept)),
    )


def _arrow(x: float, y: float, *, is_last: bool) -> str:
    """An arrow to the next box; at the end of a row a short one that says that it goes on below."""
    end = x + (9 if is_last else _GAP - 7)
    tip = f"{end:.1f},{y - 4:.1f} {end + 7:.1f},{y:.1f} {end:.1f},{y + 4:.1f}"
    line = tag("path", {"d": f"M{x:.1f} {y:.1f} H{end:.1f}", **stroke("wire"), "stroke-width": 1.5})
    return line + tag("polygon", {"points": tip, **fill("wire")})
