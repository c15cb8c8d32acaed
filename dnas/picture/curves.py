"""Numbers that change over time, as lines on two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from dnas.picture.axes import HEIGHT, LEFT, WIDTH, Axes
from dnas.picture.palette import SERIES
from dnas.picture.svg import cut, sheet, tag, text, text_width

_DASHES = ("", "7 3", "2 3", "9 3 2 3")  # lines differ without colours too
_MOST_MARKS = 60  # points of a line that are marked


@dataclass(frozen=True)
class Series:
    """A line with a name; `points` are (x, y), one or more, with finite numbers, in order of x."""

    name: str
    points: tuple[tuple[float, float], ...]


def curves(series: Sequence[Series], *, title: str, x_axis: str, y_axis: str) -> str:
    """Lines with a legend; one or more.

    Args:
        series: one line each.
        title, x_axis, y_axis: words on the picture.
    """
    rows = _legend_rows(series)
    every = [point for one in series for point in one.points]
    axes = Axes.around([x for x, _ in every], [y for _, y in every], top=62 + 20.0 * rows[-1][1])
    shapes = axes.drawn(title=title, x_axis=x_axis, y_axis=y_axis)
    for index, one in enumerate(series):
        look = {"stroke": SERIES[index % len(SERIES)], "stroke-width": 2, "stroke-dasharray": _dash(index)}
        places = [axes.at(x, y) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(tag("polyline", {"points": path, "fill": "none", "stroke-linejoin": "round", **look}))
        if len(places) <= _MOST_MARKS:
            for (x, y), (at, value) in zip(places, one.points, strict=True):
                tooltip = tag("title", {}, escape(f"{one.name}: {value:.4g} at {at:g}"))
                shapes.append(tag("circle", {"cx": x, "cy": y, "r": 3, "fill": look["stroke"]}, tooltip))
        left, row = rows[index]
        y = 42 + 20 * row
        shapes.append(tag("line", {"x1": left, "y1": y, "x2": left + 24, "y2": y, **look}))
        shapes.append(text(left + 30, y + 4, cut(one.name), size=12))
    return sheet(WIDTH, HEIGHT, shapes, label=title)


def _dash(index: int) -> str:
    return _DASHES[index % len(_DASHES)] or "none"


def _legend_rows(series: Sequence[Series]) -> list[tuple[float, int]]:
    """Left end and row of each name in the legend."""
    places, x, row = [], LEFT, 0
    for one in series:
        width = 54 + text_width(cut(one.name), 12)
        if x + width > WIDTH and x > LEFT:
            x, row = LEFT, row + 1
        places.append((x, row))
        x += width
    return places
