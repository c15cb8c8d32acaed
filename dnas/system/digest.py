"""A digest (SHA-256) inside the file that it is of: what tells a damaged file, and cannot be lost on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from dnas.system.errors import UserError

ENTRY = "sha256"  # of a JSON file
LENGTH = 64  # of a digest, in hexadecimal digits


class HashingFile:
    """A file that is only written to, with the digest of all that has been written.

    Args:
        file: where it goes.
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
        """In hexadecimal digits."""
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
    """Indented JSON of an object, with the digest of the text as its last entry, which counts as 64 zeros in it."""
    blank = json.dumps({**data, ENTRY: "0" * LENGTH}, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(blank.encode("utf-8")).hexdigest()
    return blank[: -LENGTH - len('"\n}\n')] + digest + '"\n}\n'


def without_seal(data: Mapping[str, Any], text: str, *, source: str) -> dict[str, Any]:
    """The entries of a JSON object but its digest; one without a digest may be of a person's own hand.

    Args:
        data: what the text says.
        text: of the file.
        source: what messages call it.

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
            f"{source} is damaged: its contents do not match its entry {ENTRY!r}. Take it from a copy; where the "
            "change is your own, leave that entry out."
        )
    return rest
