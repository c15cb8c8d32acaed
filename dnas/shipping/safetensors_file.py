"""Weights as a file of safetensors, whose metadata holds the digest of the whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dnas.system.digest import LENGTH, warn_of_no_digest
from dnas.system.errors import MissingPackage
from dnas.system.memory import check_holds
from dnas.system.reading import open_file, refusing

SAFETENSORS_FILE = "network.safetensors"
_BLANK = "0" * LENGTH
# The entry of the metadata, as its JSON is written; in computing the digest it counts as 64 zeros.
_ENTRY = "dnas_sha256"
_MARK = f'"{_ENTRY}":"'.encode()


def to_safetensors(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A file of safetensors.

    Args:
        state: tensors by name; those that share memory are written once each.
        metadata: text by name; the digest is added.

    Raises:
        UserError: tensors of a type that the format does not know.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    with refusing("The network", "cannot be written as safetensors"):
        content = _in_order(save(plain, {**metadata, _ENTRY: _BLANK}))
    at = content.index(_MARK + _BLANK.encode()) + len(_MARK)
    return content[:at] + hashlib.sha256(content).hexdigest().encode() + content[at + LENGTH :]


def _in_order(content: bytes) -> bytes:
    """The same file with its header in the order of names, which the package leaves to chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    ordered = {**header, "__metadata__": dict(sorted(header["__metadata__"].items()))}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def tensors_of(content: bytes, *, source: str) -> dict[str, Tensor]:
    """The tensors of such a file, after its digest is checked; one without a digest is read with a warning.

    Raises:
        UserError: damaged, or no file of safetensors.
        MissingPackage: the package safetensors is not installed.
    """
    check_installed()
    from safetensors.torch import load

    problem = "is damaged or no file of safetensors"
    with refusing(source, problem):
        size = int.from_bytes(content[:8], "little")  # of the header
        if not 0 < size <= len(content) - 8:
            raise ValueError(f"its header would have {size:,} bytes")
        at = content.find(_MARK, 8, 8 + size) + len(_MARK)
        if at < len(_MARK):
            if re.search(rb'"[0-9a-f]{64}"', content[8 : 8 + size]):  # a digest whose name is damaged
                raise ValueError("its contents do not match its digest")
            warn_of_no_digest(source)
        else:
            blank = content[:at] + _BLANK.encode() + content[at + LENGTH :]
            if hashlib.sha256(blank).hexdigest().encode() != content[at : at + LENGTH]:
                raise ValueError("its contents do not match its digest")
        return load(content)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of safetensors.

    Raises:
        FileNotFoundError: there is none.
        UserError: as `tensors_of`, or larger than memory.
        MissingPackage: the package safetensors is not installed.
    """
    with open_file(path) as file:
        size = file.seek(0, 2)
        check_holds(2 * size, f"The tensors of {path}")
        file.seek(0)
        content = file.read(size)
    return tensors_of(content, source=str(path))


def check_installed() -> None:
    """Raise MissingPackage if safetensors is not installed."""
    try:
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            'Files of safetensors need the package: pip install ".[export]" in a clone of dnas'
        ) from error
