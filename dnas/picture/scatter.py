"""A picture of points on two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from dnas.picture.axes import HEIGHT, WIDTH, Axes
from dnas.picture.palette import BLUE, ORANGE
from dnas.picture.svg import cut, line, sheet, tag, text


@dataclass(frozen=True)
class Point:
    """A point with its label; a `marked` one is shown as a larger square."""

    x: float
    y: float
    label: str
    marked: bool = False


def scatter(points: Sequence[Point], *, title: str, x_axis: str, y_axis: str, joined: bool = True) -> str:
    """The points, joined in order of x; one or more.

    Args:
        points: with finite numbers.
        title, x_axis, y_axis: words on the picture.
        joined: whether lines lead from point to point.
    """
    axes = Axes.around([point.x for point in points], [point.y for point in points], top=44)
    shapes = axes.drawn(title=title, x_axis=x_axis, y_axis=y_axis)
    ordered = sorted(points, key=lambda point: (point.marked, point.x) if not joined else (False, point.x))
    if joined:
        shapes += [line(axes.at(one.x, one.y), axes.at(other.x, other.y), "wire") for one, other in pairwise(ordered)]
    for point in ordered:
        x, y = axes.at(point.x, point.y)
        tooltip = tag("title", {}, escape(f"{point.label}: {point.x:.6g}, {point.y:.4g}"))
        if point.marked:
            shapes.append(tag("rect", {"x": x - 6, "y": y - 6, "width": 12, "height": 12, "fill": ORANGE}, tooltip))
        else:
            shapes.append(tag("circle", {"cx": x, "cy": y, "r": 4.5, "fill": BLUE}, tooltip))
        left = x > WIDTH - 130
        shapes.append(
            text(x + (-9 if left else 9), y - 8, cut(point.label), anchor="end" if left else "start", size=12)
        )
    return sheet(WIDTH, HEIGHT, shapes, label=title)
