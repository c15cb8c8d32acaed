"""Where the boxes of a graph go whose links run from left to right (Sugiyama, Tagawa and Toda 1981,
https://doi.org/10.1109/TSMC.1981.4308636).

Boxes stand in columns that are given. A link that passes a column gets a place in it, so that it runs around the boxes
there. The order in each column has few crossings, and each box stands near the middle of what it is linked with.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Key = Hashable
Point = tuple[float, float]

_SWEEPS = 8


@dataclass(frozen=True)
class Box:
    """Something with a place.

    Args:
        column: number of its column, from 0 on.
        width, height: in pixels.
    """

    column: int
    width: float
    height: float


@dataclass(frozen=True)
class Placed:
    """Where everything is; the upper left corner is (0, 0).

    Args:
        centres: of the boxes.
        routes: of each link, the places through which it runs between its boxes.
        width, height: of all.
    """

    centres: Mapping[Key, Point]
    routes: Mapping[tuple[Key, Key], Sequence[Point]]
    width: float
    height: float


def placed(
    boxes: Mapping[Key, Box], links: Sequence[tuple[Key, Key]], *, across: float = 30, down: float = 10
) -> Placed:
    """Places for boxes.

    Args:
        boxes: each with its column.
        links: pairs of boxes, the first in an earlier column than the second; each once.
        across: space between columns, in pixels.
        down: space between the boxes of a column, in pixels.
    """
    whole = dict(boxes)
    chains: dict[tuple[Key, Key], list[Key]] = {}
    for source, target in links:
        passed = range(boxes[source].column + 1, boxes[target].column)
        between: list[Key] = [("passes", source, target, column) for column in passed]
        whole |= {key: Box(column, 0, 4) for key, column in zip(between, passed, strict=True)}
        chains[source, target] = [source, *between, target]
    neighbours: dict[Key, tuple[list[Key], list[Key]]] = {key: ([], []) for key in whole}
    for chain in chains.values():
        for left, right in pairwise(chain):
            neighbours[right][0].append(left)
            neighbours[left][1].append(right)
    columns = _ordered(whole, neighbours)
    heights = _heights(columns, whole, neighbours, down)
    lowest = min(heights[key] - whole[key].height / 2 for key in whole)
    highest = max(heights[key] + whole[key].height / 2 for key in whole)
    middles, x = [], 0.0
    for column in columns:
        width = max((whole[key].width for key in column), default=0)
        middles.append(x + width / 2)
        x += width + across
    at = {key: (middles[whole[key].column], heights[key] - lowest) for key in whole}
    wide = [max((whole[key].width for key in column), default=0) / 2 for column in columns]
    # A link passes a column in a straight line, so that it never bends into a box there.
    routes = {
        link: [(at[key][0] + side * wide[whole[key].column], at[key][1]) for key in chain[1:-1] for side in (-1, 1)]
        for link, chain in chains.items()
    }
    return Placed({key: at[key] for key in boxes}, routes, x - across, highest - lowest)


def _ordered(whole: Mapping[Key, Box], neighbours: Mapping[Key, tuple[list[Key], list[Key]]]) -> list[list[Key]]:
    """The boxes of each column from top to bottom: by the mean place of their neighbours, to and fro."""
    columns: list[list[Key]] = [[] for _ in range(max(box.column for box in whole.values()) + 1)]
    for key, box in whole.items():
        columns[box.column].append(key)
    best, fewest = [list(column) for column in columns], _crossings(columns, neighbours)
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for column in columns if side == 0 else reversed(columns):
            place = {key: index for other in columns for index, key in enumerate(other)}

            def middle(key: Key, side: int = side, place: Mapping[Key, int] = place) -> float:
                around = neighbours[key][side]
                return sum(place[other] for other in around) / len(around) if around else place[key]

            column.sort(key=middle)
        found = _crossings(columns, neighbours)
        if found < fewest:
            best, fewest = [list(column) for column in columns], found
    return best


def _crossings(columns: Sequence[Sequence[Key]], neighbours: Mapping[Key, tuple[list[Key], list[Key]]]) -> int:
    """How many pairs of links between neighbouring columns cross."""
    number = 0
    for left, right in pairwise(columns):
        place = {key: index for index, key in enumerate(right)}
        ends = [sorted(place[other] for other in neighbours[key][1]) for key in left]
        flat = [end for own in ends for end in own]
        number += sum(flat[i] > flat[j] for i in range(len(flat)) for j in range(i + 1, len(flat)))
    return number


def _heights(
    columns: Sequence[Sequence[Key]],
    whole: Mapping[Key, Box],
    neighbours: Mapping[Key, tuple[list[Key], list[Key]]],
    down: float,
) -> dict[Key, float]:
    """The middle of each box: near the mean of its neighbours' middles, in order, and not over its column's others."""
    offsets: dict[Key, float] = {}
    for column in columns:
        total = 0.0
        for above, below in pairwise([None, *column]):
            gap = 0.0 if above is None else (whole[above].height + whole[below].height) / 2 + down
            total += gap
            offsets[below] = total
    heights = {key: offsets[key] - offsets[column[-1]] / 2 for column in columns for key in column}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else list(reversed(columns)):
            wanted = []
            for key in column:
                around = [heights[other] for side in neighbours[key] for other in side]
                wanted.append((sum(around) / len(around) if around else heights[key]) - offsets[key])
            for key, value in zip(column, _rising(wanted), strict=True):
                heights[key] = value + offsets[key]
    return heights


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest numbers, by squares, that never fall (pool adjacent violators)."""
    pools: list[list[float]] = []  # [sum, count]
    for value in values:
        pools.append([value, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    return [total / count for total, count in pools for _ in range(int(count))]
