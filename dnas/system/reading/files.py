"""Regular files of a bounded size, as bytes and as text."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dnas.system.errors import UserError
from dnas.system.reading.refusal import in_one_line

# Default limit, in bytes, for a text such as architecture.json or a log of metrics.
LARGEST_TEXT = 64 * 2**20


@contextmanager
def open_file(path: Path | str) -> Iterator[BinaryIO]:
    """A regular file, open for reading bytes; links to one are followed.

    A named pipe, a socket or a device is refused without waiting for it.

    Raises:
        FileNotFoundError: there is none.
        UserError: no regular file, no permission, or a link that leads nowhere.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise UserError(f"Cannot read {str(path)!r}: {_reason(error)}.") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise UserError(f"{path} is {_kind(kind)}; expected a regular file.")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_bytes(path: Path | str, *, most: int = LARGEST_TEXT) -> bytes:
    """The whole file.

    Args:
        path: path of a regular file.
        most: largest number of bytes that is read.

    Raises:
        FileNotFoundError: there is none.
        UserError: no regular file, or larger; the message says what the limit is.
    """
    with open_file(path) as file:
        check_size(path, os.fstat(file.fileno()).st_size, most=most)
        content = file.read(most + 1)  # what is written meanwhile, or has no size, such as files of the kernel
    check_size(path, len(content), most=most)
    return content


def read_text(path: Path | str, *, most: int = LARGEST_TEXT, encoding: str = "utf-8") -> str:
    """The whole file as text, its line ends as they are written in Python.

    Raises:
        FileNotFoundError: there is none.
        UserError: no regular file, larger than `most` bytes, or no text of this encoding.
    """
    content = read_bytes(path, most=most)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_size(path: Path | str, size: int, *, most: int) -> None:
    """Raise UserError if a file of `size` bytes is larger than the limit."""
    if size > most:
        raise UserError(f"{path} has {size:,} bytes or more; at most {most:,} are read of such a file.")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "its symbolic links go in a circle"
    return (error.strerror if isinstance(error, OSError) else None) or in_one_line(error)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
