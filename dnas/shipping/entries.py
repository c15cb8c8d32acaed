"""Entries of JSON files, checked.

Each function raises UserError if an entry is not as expected; the message names the file (`source`) and the place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dnas.data.normalization import Normalization
from dnas.system.errors import UserError

# No network has more of anything. A file with a larger number is damaged, and must not make us build for hours.
_LARGEST = 1_000_000
_CALLED = {int: "a whole number", bool: "true or false", str: "a text", list: "a list", dict: "an object"}


def entry(data: Mapping[str, Any], name: str, kind: type, source: str, *, place: str = "") -> Any:
    """`data[name]`, which must have exactly the type `kind` (true is not a whole number)."""
    where = f"{place}.{name}" if place else name
    if name not in data:
        raise UserError(f"{source}: {where} is missing; expected {_CALLED[kind]}.")
    if type(data[name]) is not kind:
        raise UserError(f"{source}: {where} must be {_CALLED[kind]}; got {data[name]!r}.")
    return data[name]


def refuse_others(data: Mapping[str, Any], known: set[str], source: str, *, place: str = "") -> None:
    """Check that `data` has no entries but the known ones."""
    unknown = sorted(set(data) - known)
    if unknown:
        where = f" in {place}" if place else ""
        raise UserError(f"{source}: unknown entries {unknown}{where}; known are {sorted(known)}.")


def name_list(data: Mapping[str, Any], name: str, source: str) -> tuple[str, ...]:
    """`data[name]`, a list of one or more texts."""
    values = entry(data, name, list, source)
    if not values or not all(isinstance(value, str) for value in values):
        raise UserError(f"{source}: {name} must be a list of one or more names; got {values!r}.")
    return tuple(values)


def number_list(data: Mapping[str, Any], name: str, source: str) -> tuple[float, ...]:
    """`data[name]`, a list of one or more finite numbers."""
    values = entry(data, name, list, source)
    if not values or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise UserError(f"{source}: {name} must be a list of numbers, one for each channel; got {values!r}.")
    return tuple(float(value) for value in values)


def count(data: Mapping[str, Any], name: str, source: str, *, place: str) -> int:
    """`data[name]`, a whole number from 1 to 1,000,000."""
    value = entry(data, name, int, source, place=place)
    if not 1 <= value <= _LARGEST:
        raise UserError(f"{source}: {place}.{name} must be a whole number from 1 to {_LARGEST:,}; got {value}.")
    return value


def normalization_in(data: Mapping[str, Any], source: str) -> Normalization:
    """The entries `mean` and `std`, lists of as many numbers."""
    mean, std = number_list(data, "mean", source), number_list(data, "std", source)
    try:
        return Normalization(mean, std)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
