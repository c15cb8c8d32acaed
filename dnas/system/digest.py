"""A digest (SHA-256) that is stored inside its file, so that it cannot get lost and shows damage."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dnas.system.errors import UserError

ENTRY = "sha256"  # name of the entry in a JSON file
LENGTH = 64  # length of a digest, in hexadecimal digits


class NoDigest(UserWarning):
    """A file was read that has no digest, so that damage in it may go unnoticed."""


def warn_of_no_digest(path: Path | str) -> None:
    """Warn of such a file, in one line."""
    warnings.warn(
        f"{path} was written without a digest, so damage in it may go unnoticed; what is written now has one.",
        NoDigest,
        stacklevel=3,
    )


class HashingFile:
    """A write-only file that keeps the digest of everything that has been written.

    Args:
        file: the file that is written to.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        """The digest in hexadecimal digits."""
        return self._hash.hexdigest()


def digest_of(file: BinaryIO, size: int, *, ending: bytes = b"") -> str:
    """The digest of the next `size` bytes of a file and of an ending; memory does not grow with `size`."""
    hashed = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        hashed.update(block)
        size -= len(block)
    hashed.update(ending)
    return hashed.hexdigest()


def sealed_json(data: Mapping[str, Any]) -> str:
    """Indented JSON whose last entry is the digest of the text; in computing it, that entry counts as 64 zeros."""
    blank = json.dumps({**data, ENTRY: "0" * LENGTH}, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(blank.encode("utf-8")).hexdigest()
    return blank[: -LENGTH - len('"\n}\n')] + digest + '"\n}\n'


def without_seal(data: Mapping[str, Any], text: str, *, source: str) -> dict[str, Any]:
    """The entries of a JSON object without its digest; one without it is accepted, as a person may have edited it.

    Args:
        data: the parsed text.
        text: text of the file.
        source: name of the file in messages.

    Raises:
        UserError: the text is not the one that was written.
    """
    rest = {name: value for name, value in data.items() if name != ENTRY}
    if ENTRY not in data:
        return rest
    stated = data[ENTRY]
    blank = text.replace(stated, "0" * LENGTH) if isinstance(stated, str) and len(stated) == LENGTH else ""
    if hashlib.sha256(blank.encode("utf-8", "surrogatepass")).hexdigest() != stated:
        raise UserError(
            f"{source} is damaged: its contents do not match its entry {ENTRY!r}. Take it from a copy; if you changed "
            "it yourself, remove that entry."
        )
    return rest
