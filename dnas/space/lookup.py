"""From a space's name and arguments to the space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dnas.core.architecture import Architecture
from dnas.space.base import Space
from dnas.space.darts import DartsSpace
from dnas.space.mobile import MobileSpace
from dnas.space.nasbench201 import NasBench201Space
from dnas.space.reduced import ReducedDartsSpace
from dnas.space.transformer import TransformerSpace
from dnas.system.errors import UserError

NAMES = (DartsSpace.name, ReducedDartsSpace.name, NasBench201Space.name, MobileSpace.name, TransformerSpace.name)


def space_named(name: str, arguments: Mapping[str, Any]) -> Space:
    """The space `name` with these arguments (lists become tuples); missing ones keep their defaults.

    Raises:
        UserError: there is no such space, or it has no such argument, or not of that type.
    """
    match name:
        case DartsSpace.name:
            return DartsSpace(**_checked(DartsSpace(), arguments))
        case ReducedDartsSpace.name:
            return ReducedDartsSpace(**_checked(ReducedDartsSpace(), arguments))
        case NasBench201Space.name:
            return NasBench201Space(**_checked(NasBench201Space(), arguments))
        case MobileSpace.name:
            return MobileSpace(**_checked(MobileSpace(), arguments))
        case TransformerSpace.name:
            return TransformerSpace(**_checked(TransformerSpace(), arguments))
        case _:
            raise UserError(f"There is no space {name!r}; known are {', '.join(NAMES)}.")


def space_of(architecture: Architecture) -> Space:
    """The space that an architecture belongs to, with the arguments that it was searched with.

    Raises:
        UserError: there is no such space, or it does not accept these arguments.
    """
    return space_named(architecture.space, architecture.arguments)


def _checked(default: Space, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the space's fields, each of the type of its default, because they come from files."""
    defaults = {field.name: getattr(default, field.name) for field in fields(default)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in defaults:
            raise UserError(f"The space {default.name!r} has no argument {name!r}; it has {sorted(defaults)}.")
        value = tuple(value) if isinstance(value, list) else value
        fits = type(value) is type(defaults[name])
        if not fits or (isinstance(value, tuple) and not _items_fit(value, defaults[name])):
            raise UserError(
                f"The space {default.name!r}: argument {name!r} must look like {defaults[name]!r}; got {value!r}."
            )
        checked[name] = value
    return checked


def _items_fit(value: tuple[Any, ...], default: tuple[Any, ...]) -> bool:
    """Whether all items have the type of the default's items, of which there is at least one."""
    return all(type(item) is type(default[0]) for item in value)
