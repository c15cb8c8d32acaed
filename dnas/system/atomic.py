"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from dnas.system.errors import CannotWrite

# What a file that is being written ends with; a process that was killed may leave one (`system/lock.py` removes it).
UNFINISHED = ".dnas-unfinished"

_FULL = "the disk is full. Make room; what was written before is intact, and the same command goes on from it"
_READ_ONLY = "the folder may not be written to. Change its permissions, or choose another folder"
_WHY = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "it would be larger than files may be here (see `ulimit -f`); what was written before is intact",
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
}


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Let `fill` write into a temporary file beside `path`, then move it to `path`.

    If the process is killed meanwhile, the old file is left, never half of the new one. The file has the permissions
    that the user's umask leaves.

    Raises:
        CannotWrite: the system does not let it be written; the message names the file and the reason.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except Exception as error:
        cause = _of_the_system(error)
        if cause is None:
            raise
        raise cannot_write(path, cause) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write(path, lambda file: file.write(text.encode("utf-8")))


def cannot_write(path: Path, cause: OSError) -> CannotWrite:
    """The error for a file that the system does not let be written."""
    why = _WHY.get(cause.errno or 0) or cause.strerror or str(cause)
    return CannotWrite(f"Cannot write {path}: {why}.")


def _of_the_system(error: BaseException | None) -> OSError | None:
    """The system's error behind another: torch, whose writer meets it, tells only at which position it stopped."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
