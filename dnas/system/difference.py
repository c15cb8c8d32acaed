"""The first difference between two pieces of settings or states, in words; and which settings may differ."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from dnas.system.plain_data import to_plain, value_of

_FREE = "free"


def free(default: Any) -> Any:
    """Default of a setting that may change when a search or a training resumes, because no number depends on it.

    Example:
        >>> @dataclass(frozen=True)
        ... class Settings:
        ...     epochs: int = 50
        ...     log_every: int = free(50)
        >>> fixed_settings(Settings(log_every=1))
        {'epochs': 50}
    """
    return field(default=default, metadata={_FREE: True})


def fixed_settings(settings: Any) -> dict[str, Any]:
    """The settings that are not `free`, as plain data.

    Args:
        settings: a dataclass.
    """
    free_names = {entry.name for entry in fields(settings) if _FREE in entry.metadata}
    return {name: value for name, value in to_plain(settings).items() if name not in free_names}


def first_difference(
    there: Any,
    here: Any,
    *,
    ignored: Collection[str] = (),
    place: str = "",
    words: tuple[str, str] = ("there", "here"),
) -> str:
    """The first place in which two pieces of data differ, in words; empty if they are equal.

    If `here` has a dataclass, `there` has the same as plain data. Its `free` settings are ignored, and a missing
    setting counts as its default, because it was added to dnas later. Tensors are compared by shape,
    and those of whole numbers also by type.

    Args:
        there: plain data and tensors, as read from a file; no import path in them is followed.
        here: the same, or with dataclasses.
        ignored: places that are ignored, such as 'threads'.
        place: name of the data in messages.
        words: names of the two pieces in messages.

    Example:
        >>> first_difference({"seed": 0, "sizes": {"cells": 8}}, {"seed": 0, "sizes": {"cells": 5}})
        'sizes.cells is 8 there and 5 here'
    """
    return next(_Comparison(frozenset(ignored), words).differences(there, here, place), "")


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


@dataclass(frozen=True)
class _Comparison:
    """All differences between two pieces of data, in order."""

    ignored: frozenset[str]
    words: tuple[str, str]

    def differences(self, there: Any, here: Any, place: str) -> Iterator[str]:
        if place in self.ignored:
            return
        if is_dataclass(here) and not isinstance(here, type):
            yield from self._of_settings(there, here, place)
        elif isinstance(here, Mapping) and isinstance(there, Mapping):
            for name in dict.fromkeys(chain(here, there)):
                yield from self.differences(there.get(name, _MISSING), here.get(name, _MISSING), _join(place, name))
        elif isinstance(here, tuple | list) and isinstance(there, tuple | list) and len(here) == len(there):
            for index, (one, other) in enumerate(zip(there, here, strict=True)):
                yield from self.differences(one, other, f"{place}[{index}]")
        elif _is_other(there, here):
            yield self._told(place, _text(there), _text(here))

    def _of_settings(self, there: Any, here: Any, place: str) -> Iterator[str]:
        own = to_plain(here).get("class_path") if _is_part(here) else None
        if own is not None:
            other = there.get("class_path") if isinstance(there, Mapping) else there
            is_bare = isinstance(there, Mapping) and not {"class_path", "init_args"} & set(there)
            if own != other and not is_bare:  # the optimizer of the weights was once of one class, which was not named
                yield self._told(place, str(other), own)
                return
            there = there if is_bare else there.get("init_args", {})
        if not isinstance(there, Mapping):
            yield self._told(place, _text(there), _text(here))
            return
        entries = {entry.name: entry for entry in fields(here) if entry.init}
        for name, entry in entries.items():
            if _FREE not in entry.metadata:
                theirs = there[name] if name in there else _default(entry)
                yield from self.differences(theirs, value_of(here, entry), _join(place, name))
        for name in there:
            if name not in entries:
                yield f"{_join(place, name)} is unknown {self.words[1]}"

    def _told(self, place: str, there: str, here: str) -> str:
        return f"{place} is {there} {self.words[0]} and {here} {self.words[1]}"


def _is_part(settings: object) -> bool:
    """Whether this is a part of a method, which may be of another class in the other data."""
    return isinstance(settings, ABC)


def _is_other(there: Any, here: Any) -> bool:
    if isinstance(there, Tensor) or isinstance(here, Tensor):
        return _text(there) != _text(here)
    return there is not here if _MISSING in (there, here) else there != to_plain(here)


def _text(value: Any) -> str:
    if isinstance(value, Tensor):
        numbers = "" if value.is_floating_point() else f" of {value.dtype}"
        return f"a tensor of shape {tuple(value.shape)}{numbers}"
    return repr(to_plain(value) if is_dataclass(value) and not isinstance(value, type) else value)


def _join(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


def _default(entry: Field[Any]) -> Any:
    """The default of a setting as plain data."""
    if entry.default is not MISSING:
        return to_plain(entry.default)
    return to_plain(entry.default_factory()) if entry.default_factory is not MISSING else _MISSING
