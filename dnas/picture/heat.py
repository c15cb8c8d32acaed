"""A table of numbers from 0 up as shades of one colour, with the numbers in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dnas.picture.palette import BLUE
from dnas.picture.svg import cut, fill, moved, sheet, tag, text, text_width

_CELL, _ROW, _MARGIN, _HEAD = 46.0, 24.0, 16.0, 34.0
MOST_CELLS = 4000


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    title: str,
    shown: Sequence[Sequence[str]],
) -> str:
    """Shades from none, for 0, to full, for 1 or more.

    Args:
        rows, columns: names, one or more each.
        values: of each row, from 0 on; how dark the field is.
        title: words above.
        shown: what is written in each field.
    """
    left = max(text_width(cut(name), 12) for name in rows) + _MARGIN + 8
    names = max(text_width(cut(name), 12) for name in columns)
    top = _HEAD + names * 0.78 + 14
    width = max(left + len(columns) * _CELL + names * 0.62 + _MARGIN, text_width(title, 14) + 2 * _MARGIN)
    shapes = [text(_MARGIN, 24, title, bold=True, size=14)]
    for index, name in enumerate(columns):
        turned = tag("g", {"transform": "rotate(-50)"}, text(0, 0, cut(name), size=12, tone="soft"))
        shapes.append(moved(left + (index + 0.5) * _CELL + 4, top - 6, [turned]))
    for row, name in enumerate(rows):
        y = top + row * _ROW
        shapes.append(text(left - 8, y + 16, cut(name), anchor="end", size=12, tone="soft"))
        for column, value in enumerate(values[row]):
            words = f"{name}, {columns[column]}: {shown[row][column]}"
            shapes.append(_field(left + column * _CELL, y, value, shown[row][column], words))
    return sheet(width, top + len(rows) * _ROW + _MARGIN, shapes, label=title)


def _field(x: float, y: float, value: float, written: str, tooltip: str) -> str:
    place = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _ROW - 2, "rx": 3}
    shade = tag("rect", {**place, "fill": BLUE, "fill-opacity": round(min(max(value, 0.0), 1.0), 3)})
    about = tag("title", {}, escape(tooltip))
    middle = (x + _CELL / 2, y + 16)
    if value > 0.85:  # white on the full blue is 5.2 to 1, ink on less of it 4.3 or more
        white = {"x": middle[0], "y": middle[1], "text-anchor": "middle", "font-size": 11, "fill": "#ffffff"}
        number = tag("text", white, escape(written))
    else:
        number = text(*middle, written, anchor="middle", size=11)
    return tag("g", {}, about, tag("rect", {**place, **fill("box")}), shade, number)
