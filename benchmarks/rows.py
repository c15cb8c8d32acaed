"""Rows of results in a file, one JSON object a line; a command that is given again makes what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; none where it does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def complete(
    path: Path, key_of: Sequence[str], wanted: Iterable[Key], make: Callable[..., list[Row]], *, minutes: float
) -> list[Row]:
    """Make the parts that a file lacks, each written when it is finished; all rows of the file come back.

    Args:
        path: the file.
        key_of: entries of a row that tell parts apart.
        wanted: the parts, as values of these entries.
        make: makes the rows of a part from these values.
        minutes: about how long a part takes on one core, for the estimate that is printed first.
    """
    rows = read_rows(path)
    there = {tuple(row[name] for name in key_of) for row in rows}
    missing = [key for key in wanted if key not in there]
    print(
        f"{len(missing)} parts to make, about {minutes * len(missing):.0f} min on one core", file=sys.stderr, flush=True
    )
    for key in missing:
        made = make(*key)
        append_rows(path, made)
        rows += made
    return rows
