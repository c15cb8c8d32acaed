"""How much of each of several things is left, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from dnas.picture.palette import BLUE
from dnas.picture.svg import cut, fill, sheet, tag, text, text_width

_ROW, _LENGTH, _MARGIN, _HEAD = 24.0, 300.0, 16.0, 36.0


def bars(rows: Sequence[tuple[str, float, float]], *, title: str) -> str:
    """One bar for each of one or more rows: the whole in grey, what is left in blue, numbers beside it.

    Args:
        rows: name, whole, and what is left of it; whole numbers from 0 on.
        title: words above.
    """
    left = max(text_width(cut(name), 12) for name, _, _ in rows) + _MARGIN + 8
    largest = max(max(whole for _, whole, _ in rows), 1)
    shapes = [text(_MARGIN, 24, title, bold=True, size=14)]
    for index, (name, whole, kept) in enumerate(rows):
        y = _HEAD + index * _ROW
        bar = {"x": left, "y": y + 4, "height": _ROW - 8, "rx": 3}
        shapes += [
            text(left - 8, y + 16, cut(name), anchor="end", size=12, tone="soft"),
            tag("rect", {**bar, "width": max(_LENGTH * whole / largest, 1), **fill("grid")}),
            tag("rect", {**bar, "width": _LENGTH * kept / largest, "fill": BLUE}),
            text(left + _LENGTH + 10, y + 16, f"{whole:,g} → {kept:,g}", size=12),
        ]
    width = max(left + _LENGTH + 120, text_width(title, 14) + 2 * _MARGIN)
    return sheet(width, _HEAD + len(rows) * _ROW + _MARGIN, shapes, label=title)
