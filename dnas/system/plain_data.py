"""Settings as plain data, in the form of a recipe."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import dnas
from dnas.system.errors import UserError

# Text that no reader of settings takes for an import path, a file, or YAML within text.
# Of a budget (dnas.cost.budget): a unit and a number.
_LIMIT = re.compile(r"[A-Za-z]+<=[0-9.]+(e[0-9+-]+)?[%kKmMgG]?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_+-]*", re.ASCII)
# Settings whose value is such a word: their types are text, so no file is looked for.
WORD_SETTINGS = ("precision", "candidate", "cell", "against", "begin_with", "clip_over", "lr_changes")

# In the metadata of a field: its value is a function, and its name stands for it.
BY_NAME = "dnas_by_name"

# What costs may be instead of a mapping: see `ExpectedCost`.
UNITS = ("flops", "parameters")


def to_plain(value: Any) -> Any:
    """Dataclasses as mappings; parts, which a recipe can swap, with their class: `{class_path, init_args}`.

    Raises:
        UserError: it contains something other than numbers, text, lists, mappings and dataclasses.
    """
    if is_dataclass(value) and not isinstance(value, type):
        arguments = {field.name: to_plain(value_of(value, field)) for field in fields(value) if field.init}
        return {"class_path": _class_path(type(value)), "init_args": arguments} if isinstance(value, ABC) else arguments
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise UserError(
        "Settings must be numbers, text, lists, mappings or dataclasses, so that they can be written into a run "
        f"folder; got a {type(value).__name__}. Make a part of your own a frozen dataclass."
    )


def value_of(settings: Any, field: Field[Any]) -> Any:
    """The value of a setting; its name where it is a function, and its text where that has none, as a partial."""
    value = getattr(settings, field.name)
    if BY_NAME not in field.metadata:
        return value
    name = getattr(value, "__qualname__", None)
    return repr(value) if name is None else f"{value.__module__}.{name}"


def _class_path(kind: type) -> str:
    public = getattr(dnas, kind.__name__, None) is kind
    return f"dnas.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"


def check_only_own_parts(data: Any, source: str, place: str = "") -> None:
    """Check that settings from a file name no code other than the public parts of dnas.

    Only what cannot lead anywhere is let through: numbers, public names such as `dnas.Softmax`, within lists plain
    words, such as the candidates of a space, and limits of a budget, and those of a setting that is a word, such as a
    precision. jsonargparse would also follow an import path or the name of a YAML file in the place of any mapping, and
    YAML or JSON within text.

    Raises:
        UserError: names the place and the text.
    """
    if isinstance(data, Mapping):
        for name, item in data.items():
            check_only_own_parts(item, source, f"{place}.{name}" if place else str(name))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            if not (isinstance(item, str) and (_WORD.fullmatch(item) or _LIMIT.fullmatch(item))):
                check_only_own_parts(item, source, f"{place}[{index}]")
    elif isinstance(data, str):
        name = place.rsplit(".", 1)[-1]
        is_word = (name in WORD_SETTINGS and _WORD.fullmatch(data)) or (name == "costs" and data in UNITS)
        if not is_word and data not in {f"dnas.{name}" for name in dnas.__all__}:
            raise UserError(
                f"{source}: {place} is {data!r}, neither a number nor a public part of dnas; code outside dnas is not "
                "run from a file that may come from anybody. If you trust this run, add --trust."
            )
    elif not (data is None or isinstance(data, bool | int | float)):
        raise UserError(f"{source}: {place} must be a number, text, list or mapping; got a {type(data).__name__}.")
