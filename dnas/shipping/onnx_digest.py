"""The digest (SHA-256) of an ONNX file, as an entry of its metadata, which counts as 64 zeros in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from dnas.system.digest import LENGTH
from dnas.system.errors import UserError

DIGEST = "dnas_sha256"  # key of the entry
BLANK = "0" * LENGTH
# The entry as protobuf writes it: key (field 1) and value (field 2), each with its length.
_MARK = b"\x0a" + bytes([len(DIGEST)]) + DIGEST.encode("ascii") + b"\x12" + bytes([LENGTH])


def sealed_onnx(content: bytes) -> bytes:
    """A serialised model whose metadata has the entry `DIGEST` with the value `BLANK`, with its digest there."""
    at = content.rindex(_MARK) + len(_MARK)
    return content[:at] + hashlib.sha256(content).hexdigest().encode("ascii") + content[at + LENGTH :]


def has_onnx_seal(content: bytes, *, source: str) -> bool:
    """Whether a model has a digest, which is checked.

    Raises:
        UserError: it is not the model that was written.
    """
    at = content.rfind(_MARK) + len(_MARK)
    if at < len(_MARK):
        return False
    blank = content[:at] + BLANK.encode("ascii") + content[at + LENGTH :]
    if hashlib.sha256(blank).hexdigest().encode("ascii") != content[at : at + LENGTH]:
        raise _damaged(source)
    return True


def check_no_broken_seal(metadata: Mapping[str, str], *, source: str) -> None:
    """Check that a model without a digest did not lose it by damage to the entry itself.

    Raises:
        UserError: an entry is like one of a digest.
    """
    digits = set("0123456789abcdef")
    if DIGEST in metadata or any(len(value) == LENGTH and set(value) <= digits for value in metadata.values()):
        raise _damaged(source)


def _damaged(source: str) -> UserError:
    return UserError(
        f"{source} is damaged: its contents do not match its digest. Take it from a copy, or export it anew; where the "
        f"change is your own, as by a quantizer, remove the entry {DIGEST!r} of its metadata."
    )
