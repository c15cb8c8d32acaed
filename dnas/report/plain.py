"""Entries of data that anybody may have written: what has another type than is expected counts as missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def entry(data: Any, *path: str) -> Any:
    """What stands at a path of names; None where one is missing."""
    for name in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(name)
    return data


def number(data: Any, *path: str) -> float | None:
    """A finite number at a path."""
    found = entry(data, *path)
    is_number = isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < 1e300
    return float(found) if is_number and math.isfinite(found) else None


def words(data: Any, *path: str) -> str:
    """A text at a path; empty where there is none."""
    found = entry(data, *path)
    return found if isinstance(found, str) else ""


def items(data: Any, *path: str) -> list[Any]:
    """A list at a path; empty where there is none."""
    found = entry(data, *path)
    return found if isinstance(found, list) else []


def pair(data: Any, *path: str) -> tuple[float, float] | None:
    """Two numbers at a path."""
    found = [number({"x": value}, "x") for value in items(data, *path)]
    return (found[0], found[1]) if len(found) == 2 and found[0] is not None and found[1] is not None else None
