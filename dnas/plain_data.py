"""Settings as plain data, in the form in which a recipe writes them."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import dnas

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def to_plain(value: Any) -> Any:
    """Dataclasses as mappings; parts, which a recipe can swap, with their class: `{class_path, init_args}`."""
    if is_dataclass(value) and not isinstance(value, type):
        arguments = {field.name: to_plain(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"class_path": _class_path(type(value)), "init_args": arguments} if isinstance(value, ABC) else arguments
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise ValueError(f"Settings must be numbers, text, lists, mappings or dataclasses; got {type(value).__name__}.")


def _class_path(kind: type) -> str:
    public = getattr(dnas, kind.__name__, None) is kind
    return f"dnas.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"


def check_only_own_parts(data: Any, source: str, place: str = "") -> None:
    """See that settings read from a file name no code but the public parts of dnas.

    Raises:
        ValueError: names the place and the import path.
    """
    if isinstance(data, Mapping):
        for name, item in data.items():
            check_only_own_parts(item, source, f"{place}.{name}" if place else str(name))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            check_only_own_parts(item, source, f"{place}[{index}]")
    elif (
        isinstance(data, str) and _IMPORT_PATH.fullmatch(data) and data not in {f"dnas.{name}" for name in dnas.__all__}
    ):
        raise ValueError(
            f"{source}: {place} names code outside dnas, {data!r}, which is not run from a file that may come from "
            "anybody. If you trust this run, add --trust."
        )
