"""All public parts of a kind, so that none can be left out of a test of all."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import dnas


def public_parts(module: ModuleType, kind: type, examples: Mapping[type, Sequence[Any]]) -> list[Any]:
    """Every class that `module` names, is a `kind` and not abstract: its examples, or else as it is by default.

    Fails where a part is missing among dnas's own public names, or cannot be built without arguments and has no
    example.
    """
    found = [getattr(module, name) for name in module.__all__]
    parts = [
        part for part in found if inspect.isclass(part) and issubclass(part, kind) and not inspect.isabstract(part)
    ]
    assert parts, f"{module.__name__} names no {kind.__name__}"
    missing = [part.__name__ for part in parts if part.__name__ not in dnas.__all__]
    assert not missing, f"dnas does not export {missing}"
    return [one for part in parts for one in examples.get(part, ()) or [part()]]
