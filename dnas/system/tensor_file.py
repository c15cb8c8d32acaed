"""Files of tensors and plain data: written whole, with a digest at their end, and read as data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from dnas.system.atomic import write
from dnas.system.digest import LENGTH, HashingFile, digest_of, warn_of_no_digest
from dnas.system.errors import UserError
from dnas.system.reading import open_file
from dnas.system.reading.tensors import tensors_from

# torch.save writes a ZIP archive without a comment; ours has its digest as the comment, which other readers pass over.
# An archive ends with the length of the comment, 2 bytes, and the comment.
_LABEL = b"dnas sha256 "
_COMMENT = len(_LABEL) + LENGTH
_LENGTH_FIELD = 2
# What an archive without a comment ends with: this mark, 16 bytes more, and the length 0.
_END_MARK, _END = b"PK\x05\x06", 22
# Plain data that we write is not nested deeper.
_DEEPEST = 100
# A tensor that repeats its elements may be larger than its file, but not by more than this many bytes.
_SLACK = 1 << 20


def save_tensors(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain data whole or not at all; `torch.load(path, weights_only=True)` reads them as well."""

    def fill(file: BinaryIO) -> None:
        hashing = HashingFile(file)
        torch.save(dict(state), cast("BinaryIO", hashing))  # of which torch calls `write` alone
        comment = _LABEL + hashing.digest().encode("ascii")
        file.seek(-_LENGTH_FIELD, os.SEEK_END)
        file.write(len(comment).to_bytes(_LENGTH_FIELD, "little") + comment)

    write(path, fill)


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A file of tensors and plain data, read with `weights_only=True`.

    One that was written without a digest is read with the warning `NoDigest`.

    Raises:
        FileNotFoundError: there is none.
        UserError: damaged, or it holds something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    with open_file(path) as file:
        has_digest = _check_digest(file, path)
        state = tensors_from(file, path, device)
        size = os.fstat(file.fileno()).st_size
    if not isinstance(state, dict):
        raise UserError(f"{path} is no checkpoint of dnas: it holds a {type(state).__name__}.")
    try:
        too_large = next((place for place, tensor in tensors_in(state) if _num_bytes(tensor) > size + _SLACK), "")
    except UserError as error:
        raise UserError(f"{path} is damaged or no checkpoint of dnas: {error}") from error
    if too_large:
        raise UserError(f"{path} is damaged: {too_large} is larger than the file.")
    if not has_digest:
        warn_of_no_digest(path)
    return state


def check_finite(state: Any, *, source: str) -> None:
    """Check that no number in tensors and plain data is NaN or infinite.

    Raises:
        UserError: names the place and `source`.
    """
    place = first_non_finite(state)
    if place:
        raise UserError(f"{source} is damaged: {place} holds NaN or infinity. Take it from a copy, or train anew.")


def first_non_finite(state: Any) -> str:
    """Where in tensors and plain data NaN or infinity is first; empty where all is finite."""
    for place, value in _leaves(state):
        if isinstance(value, Tensor) and not _is_finite(value):
            return place
        if isinstance(value, float) and value - value != 0.0:
            return place
    return ""


def first_nan(state: Any) -> str:
    """Where in tensors and plain data a tensor holds NaN first; empty where none does. A mask may hold infinity."""
    return next((place for place, tensor in tensors_in(state) if _is_plain(tensor) and bool(tensor.isnan().any())), "")


def _is_finite(tensor: Tensor) -> bool:
    return not _is_plain(tensor) or bool(tensor.isfinite().all())


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers lie in memory one by one, and may be NaN."""
    return tensor.layout is torch.strided and (tensor.is_floating_point() or tensor.is_complex())


def tensors_in(state: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors in plain data, with their place, such as 'network.conv.weight'."""
    return ((place, value) for place, value in _leaves(state) if isinstance(value, Tensor))


def _leaves(state: Any) -> Iterator[tuple[str, Any]]:
    """What is no container in plain data; a container that a file names twice, or within itself, is looked at once.

    Raises:
        UserError: nested too deeply for data of ours.
    """
    pending, seen = [("", 0, state)], set()
    while pending:
        place, depth, value = pending.pop()
        if not isinstance(value, Mapping | list | tuple):
            yield place, value
        elif depth > _DEEPEST:
            raise UserError(f"{place[:80]} is nested more than {_DEEPEST} deep.")
        elif id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            inner = [(f"{place}.{name}" if place else str(name), depth + 1, item) for name, item in items]
            pending += inner[::-1]


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _check_digest(file: BinaryIO, path: Path) -> bool:
    """Check that the contents are those that were written; False if there is no digest to compare with.

    Raises:
        UserError: they are not.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _COMMENT - _LENGTH_FIELD, 0))
    tail = file.read()
    file.seek(0)
    # A flipped bit in a comment never makes it an end without one: the two differ in many bytes.
    if tail[-_END:].startswith(_END_MARK) and tail.endswith(bytes(_LENGTH_FIELD)):
        return False
    if not tail.startswith(_COMMENT.to_bytes(_LENGTH_FIELD, "little") + _LABEL):
        raise UserError(f"{path} is damaged or no checkpoint of dnas: it does not end as one does.")
    # The digest is of the archive as torch wrote it, where the length of its comment is 0.
    found = digest_of(file, size - len(tail), ending=bytes(_LENGTH_FIELD))
    if found.encode("ascii") != tail[-LENGTH:]:
        raise UserError(f"{path} is damaged: its contents do not match its digest. Take it from a copy.")
    return True
