"""What a setting may be given as: what can only mean one thing is converted, and the rest is refused in a sentence."""

from __future__ import annotations

import re
import types
from abc import ABC
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from inspect import isabstract
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import dnas
from dnas.system.errors import UserError

_Kind = TypeVar("_Kind")
_CANNOT = object()
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def accept(settings: Any) -> None:
    """Convert the values of a dataclass, in place, to what its type hints say; first in its `__post_init__`.

    Accepted are a number where a schedule is wanted, the name of a part (its class, in snake case or by a beginning
    that only one has), one value where several are wanted, and a list where a tuple is wanted.

    Raises:
        UserError: a value of another type; the message says which, what was expected and what to do.
    """
    for name, hint in _hints(type(settings)).items():
        value = getattr(settings, name)
        found = as_hinted(value, hint, name)
        if found is not value:
            object.__setattr__(settings, name, found)


def accepted(value: Any, kind: type[_Kind], name: str) -> _Kind:
    """An argument of a public function as `kind`, by the rules of `accept`.

    Raises:
        UserError: it cannot be meant.
    """
    return as_hinted(value, kind, name)


def accepted_list(value: Any, kind: type[_Kind], name: str) -> tuple[_Kind, ...]:
    """One or several parts as a tuple, by the rules of `accept`.

    Raises:
        UserError: one cannot be meant.
    """
    return as_hinted(value, tuple[kind, ...], name)


def as_hinted(value: Any, hint: Any, name: str) -> Any:
    """A value as a type hint asks for it.

    Args:
        value: the given value.
        hint: a type; of what is none of ours, such as a callable, everything passes.
        name: name of the setting, for the message.

    Raises:
        UserError: as `accept`.
    """
    if _fits(value, hint):
        return value
    found = _converted(value, hint, name)
    if found is _CANNOT:
        raise UserError(f"{name} must be {_in_words(hint)}; got {_got(value)}.{_what_to_do(value, hint)}")
    return found


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if _is_union(hint):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(one, arguments[0]) for one in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is not None:  # a mapping or a function, whose own parts its user looks at
        return not isinstance(origin, type) or isinstance(value, origin)
    return not isinstance(hint, type) or isinstance(value, hint)


def _converted(value: Any, hint: Any, name: str) -> Any:
    """The value that is meant, or `_CANNOT`."""
    arguments = get_args(hint)
    if _is_union(hint):
        return next((found for one in arguments if (found := _converted(value, one, name)) is not _CANNOT), _CANNOT)
    if get_origin(hint) is tuple:
        return _as_tuple(value, arguments, name)
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if not isinstance(hint, type):
        return _CANNOT
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not _is_part(hint):
        return _CANNOT
    if is_number and _known(hint).get("Constant"):
        return dnas.Constant(float(value))
    return _named_part(value, hint, name) if isinstance(value, str) else _CANNOT


def _as_tuple(value: Any, arguments: tuple[Any, ...], name: str) -> Any:
    several = arguments[-1] is Ellipsis
    if isinstance(value, list | tuple):
        if not several and len(value) != len(arguments):
            return _CANNOT
        hints = [arguments[0]] * len(value) if several else arguments
        return tuple(
            as_hinted(one, hint, f"{name}[{i}]") for i, (one, hint) in enumerate(zip(value, hints, strict=True))
        )
    if not several or value is None:
        return _CANNOT
    one = value if _fits(value, arguments[0]) else _converted(value, arguments[0], name)
    return one if one is _CANNOT else (one,)


# Parts by name


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and ABC in kind.__mro__


def _known(kind: type) -> dict[str, type]:
    """The public parts of a kind, such as the relaxations, by name."""
    public = {name: getattr(dnas, name) for name in dnas.__all__}
    return {
        name: part
        for name, part in public.items()
        if isinstance(part, type) and issubclass(part, kind) and not isabstract(part)
    }


def _plain(name: str) -> str:
    return name.removeprefix("dnas.").replace("_", "").replace("-", "").lower()


def _named_part(text: str, kind: type, name: str) -> Any:
    """The part that a text names, with its default settings."""
    known = _known(kind)
    found = [one for one in known if _plain(one) == _plain(text)]
    found = found or [one for one in known if _plain(text) and _plain(one).startswith(_plain(text))]
    if len(found) != 1:
        problem = f"{text!r} could be {' or '.join(found)}" if found else f"there is no {kind.__name__} {text!r}"
        raise UserError(f"{name}: {problem}; known are {', '.join(known)}, and objects of a class of your own.")
    part = known[found[0]]
    needed = _needed(part)
    if needed:
        raise UserError(f"{name}: {found[0]} needs {', '.join(needed)}: write dnas.{found[0]}({needed[0]}=...).")
    return part()


def _needed(part: type) -> list[str]:
    """The settings of a part that have no default."""
    if not is_dataclass(part):
        return []
    return [one.name for one in fields(part) if one.default is MISSING and one.default_factory is MISSING and one.init]


# Words


def _in_words(hint: Any) -> str:
    arguments = get_args(hint)
    if _is_union(hint):
        return " or ".join("None" if one is type(None) else _in_words(one) for one in arguments)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(hint) is tuple:
        several = arguments[-1] is Ellipsis
        return f"a list, each of it {_in_words(arguments[0])}" if several else f"{len(arguments)} values"
    if _is_part(hint):
        known = ", ".join(f"dnas.{name}" for name in _known(hint))
        return f"{_an(hint.__name__)}{f' ({known})' if known else ''}"
    if hint in _WORDS:
        return _WORDS[hint]
    return _an(hint.__name__) if isinstance(hint, type) else "a mapping" if get_origin(hint) else str(hint)


def _an(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "AEIOUaeio" else f"a {noun}"


def _got(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, str):
        return f"the text {value!r}"
    text = repr(value)
    return text if len(text) <= 80 and " at 0x" not in text else _an(type(value).__name__)


def _what_to_do(value: Any, hint: Any) -> str:
    """A sentence on what to write instead; empty where the expected type says it."""
    kinds = get_args(hint) if _is_union(hint) or get_origin(hint) is tuple else (hint,)
    if isinstance(value, type) and any(isinstance(kind, type) and issubclass(value, kind) for kind in kinds):
        public = f"dnas.{value.__name__}" if getattr(dnas, value.__name__, None) is value else value.__name__
        needed = ", ".join(f"{name}=..." for name in _needed(value))
        return f" Make an object of it: {public}({needed})."
    if isinstance(value, str) and (int in kinds or float in kinds) and re.fullmatch(r"[-+.\de]+", value):
        return " Write it without quotes."
    made = next((kind for kind in kinds if is_dataclass(kind) and isinstance(kind, type)), None)
    if isinstance(value, Mapping) and made is not None:
        return f" Write dnas.{made.__name__}({', '.join(f'{name}=...' for name in value)})."
    if callable(value) and not isinstance(value, type) and any(_is_part(kind) for kind in kinds):
        return " Put a function of your own into a frozen dataclass that is derived from it."
    return ""
