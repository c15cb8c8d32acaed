"""Files of tensors and plain data that `torch.save` wrote."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dnas.system.reading.files import open_file
from dnas.system.reading.refusal import refusing

_LARGEST_PICKLE = 256 * 2**20  # bytes of all that is no tensor; a checkpoint's takes a few megabytes


def read_tensors(path: Path | str, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote, read with `weights_only=True`: no code in the file is run.

    Raises:
        FileNotFoundError: there is none.
        UserError: damaged, compressed, or with more in it than tensors and plain data.
    """
    with open_file(path) as file:
        return tensors_from(file, path, device)


def tensors_from(file: BinaryIO, path: Path | str, device: torch.device | str = "cpu") -> Any:
    """Like `read_tensors`, from the start of an open file."""
    with refusing(path, "is damaged or no checkpoint of dnas"):
        file.seek(0)
        _check_archive(file)
        file.seek(0)
        return torch.load(file, map_location=device, weights_only=True)


def _check_archive(file: BinaryIO) -> None:
    """torch writes its zip files uncompressed: nothing in one is larger than the file."""
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, which torch does not do")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are larger than the file")
    if any(entry.filename.endswith("/data.pkl") and entry.file_size > _LARGEST_PICKLE for entry in entries):
        raise ValueError(f"what is no tensor in it has more than {_LARGEST_PICKLE:,} bytes")
