"""Words for people: durations, counts, tables of text, and suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from dnas.system.errors import UserError

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def readable_time(seconds: float) -> str:
    """A duration as a person says it: '40 s', '3.5 min', '12 min', '3.5 h'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min"
    return f"{seconds / 3600:.1f} h"


def seconds_in(text: str) -> float:
    """The seconds in a duration such as '90s', '30min', '2h' or '1.5h'.

    Raises:
        UserError: the text has another form, or the duration is not above 0.
    """
    for unit in sorted(_UNITS, key=len, reverse=True):
        number = text.strip().removesuffix(unit)
        if number != text.strip():
            try:
                value = float(number) * _UNITS[unit]
            except ValueError:
                break
            if 0 < value < float("inf"):
                return value
    raise UserError(f"A time must be a number with a unit, such as 90s, 30min or 2h; got {text!r}.")


def printable(text: str) -> str:
    """Text for a terminal: characters that steer it, such as escapes in the names of files, are written out."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def csv_cell(text: str) -> str:
    """Text that spreadsheets show as it is: what they would take for a formula begins with an apostrophe."""
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{text}" if is_formula and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_of(count: int, noun: str) -> str:
    """A count with its noun: '1 thread', '2 threads'."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def aligned(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """The rows of a table as lines whose columns have equal widths.

    Args:
        rows: the cells of each row, the same number in all.
        align: one character for each column, '<' for left and '>' for right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, align, widths, strict=True)).rstrip() for row in rows]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` if a known name is similar; otherwise empty.

    Args:
        name: the name that was written.
        known: the names that exist.
    """
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
