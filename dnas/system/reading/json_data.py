"""JSON as plain data, every key once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dnas.system.reading.files import LARGEST_TEXT, read_text
from dnas.system.reading.refusal import refusing, shortened


def parse_json(text: str, source: object = "the text", *, finite: bool = True) -> Any:
    """JSON as dicts, lists, text and numbers.

    Args:
        text: text to parse.
        source: name of the text in messages.
        finite: whether NaN and infinity, which are no JSON but which Python writes, are refused.

    Raises:
        UserError: no JSON, nested too deeply, a key that an object has twice, or a number that is not finite.
    """
    with refusing(source, "is not JSON"):
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse if finite else None,
            parse_float=_finite_float if finite else None,
        )


def read_json(path: Path | str, *, finite: bool = True, most: int = LARGEST_TEXT) -> Any:
    """A file of JSON as plain data; at most `most` bytes.

    Raises:
        FileNotFoundError: there is none.
        UserError: as `read_text` and `parse_json`; the message names the file.
    """
    return parse_json(read_text(path, most=most), path, finite=finite)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shortened(twice)} is there twice in one object")
    return found


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no finite number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shortened(text)} is no finite number")
    return number
