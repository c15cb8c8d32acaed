"""A picture of points on two axes, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 420, 80, 60, 24
_TICKS = 5


@dataclass(frozen=True)
class Point:
    """A point with its label."""

    x: float
    y: float
    label: str


def scatter(points: Sequence[Point], *, title: str, x_axis: str, y_axis: str) -> str:
    """The points, joined in order of x; one or more.

    Args:
        points: with finite numbers.
        title, x_axis, y_axis: words on the picture.
    """
    x_ticks, y_ticks = _ticks([point.x for point in points]), _ticks([point.y for point in points])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return _LEFT + across * (_WIDTH - _LEFT - _EDGE), _HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - 2 * _EDGE)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, _EDGE, title, "middle"),
        _text((_LEFT + _WIDTH) / 2, _HEIGHT - 12, x_axis, "middle"),
        f'<g transform="rotate(-90 16 {_HEIGHT / 2})">{_text(16, _HEIGHT / 2, y_axis, "middle")}</g>',
    ]
    for tick in x_ticks:
        x, y = at(tick, y_ticks[0])
        lines += [_line((x, y), at(tick, y_ticks[-1]), "#ddd"), _text(x, y + 18, f"{tick:.4g}", "middle")]
    for tick in y_ticks:
        x, y = at(x_ticks[0], tick)
        lines += [_line((x, y), at(x_ticks[-1], tick), "#ddd"), _text(x - 8, y + 4, f"{tick:.4g}", "end")]
    ordered = sorted(points, key=lambda point: point.x)
    for one, other in pairwise(ordered):
        lines.append(_line(at(one.x, one.y), at(other.x, other.y), "#9bf"))
    for point in ordered:
        x, y = at(point.x, point.y)
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#06c"/>', _text(x + 7, y - 7, point.label, "start")]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around all values, two or more."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, last + 1)]


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
