"""Two axes with ticks at round numbers, and where a point stands between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dnas.picture.svg import line, moved, tag, text

WIDTH, HEIGHT = 480.0, 330.0
LEFT, _BOTTOM, _RIGHT, _TICKS = 78.0, 54.0, 20.0, 5


@dataclass(frozen=True)
class Axes:
    """The axes around some points.

    Args:
        x_ticks, y_ticks: two or more numbers at equal distances, around all values.
        top: height of what stands above, in pixels.
    """

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    top: float

    @staticmethod
    def around(xs: Sequence[float], ys: Sequence[float], *, top: float) -> Axes:
        """Axes for one point or more, with finite numbers."""
        return Axes(ticks(xs), ticks(ys), top)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point in the picture."""
        across = (x - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        up = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _BOTTOM - self.top)

    def drawn(self, *, title: str, x_axis: str, y_axis: str) -> list[str]:
        """Title, names of the axes, ticks and grid."""
        turned = tag("g", {"transform": "rotate(-90)"}, text(0, 0, y_axis, anchor="middle", size=12, tone="soft"))
        shapes = [
            text(LEFT, 24, title, bold=True, size=14),
            text((LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 14, x_axis, anchor="middle", size=12, tone="soft"),
            moved(18, (self.top + HEIGHT - _BOTTOM) / 2, [turned]),
        ]
        for tick in self.x_ticks:
            x, y = self.at(tick, self.y_ticks[0])
            shapes.append(line((x, y), self.at(tick, self.y_ticks[-1])))
            shapes.append(text(x, y + 18, _number(tick), anchor="middle", size=12, tone="soft"))
        for tick in self.y_ticks:
            x, y = self.at(self.x_ticks[0], tick)
            shapes.append(line((x, y), self.at(self.x_ticks[-1], tick)))
            shapes.append(text(x - 8, y + 4, _number(tick), anchor="end", size=12, tone="soft"))
        return shapes


def ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around all values, two or more; whole ones for whole values, such as epochs."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    if all(float(value).is_integer() for value in values):
        step = max(step, 1.0)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, last + 1)]


def _number(value: float) -> str:
    """A tick in a few characters: 0.85, 300k, 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and letter != "k"):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"
