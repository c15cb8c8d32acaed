"""One line of ours for whatever a library raises on a damaged or hostile file."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

from dnas.system.errors import UserError

_LONGEST = 200  # characters that a message quotes


@contextmanager
def refusing(source: object, problem: str, *, advice: str = "") -> Iterator[None]:
    """Within the block any exception of a library becomes a `UserError`: '`source` `problem`: the exception's words'.

    Only calls of a library belong inside. What libraries raise on damaged files cannot be listed: zlib.error,
    NotImplementedError, AttributeError, RecursionError, SystemError and MemoryError were all seen.

    Args:
        source: the file, or what messages call a text.
        problem: such as 'is not JSON'.
        advice: a sentence on what to do, where there is one.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        words = f"{source} {problem}: {in_one_line(error)}"
        raise UserError(f"{words.rstrip('.')}. {advice}" if advice else words) from error


def in_one_line(error: Exception) -> str:
    """What an exception says, in at most 200 printable characters; its type where it says nothing."""
    return _printable(" ".join(str(error)[: 10 * _LONGEST].split())) or type(error).__name__


def shortened(value: object) -> str:
    """`repr` of data from a file, in at most 200 printable characters."""
    return _printable(_REPR.repr(value))


class _Repr(reprlib.Repr):
    """Shows only the ends of long texts and numbers, and of deep data."""

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write integers of more than 4,300 digits."""
        return repr(x) if abs(x) < 10**40 else "a number of more than 40 digits"


_REPR = _Repr()
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 8


def _printable(text: str) -> str:
    plain = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in text[:_LONGEST]
    )
    return plain if len(text) <= _LONGEST and len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
