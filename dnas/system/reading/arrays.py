"""Arrays of numbers and text in an .npz file: shapes first, then only what is asked for.

The format is that of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html in a zip file.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dnas.system.errors import UserError
from dnas.system.memory import check_holds
from dnas.system.reading.files import open_file
from dnas.system.reading.refusal import refusing

MOST_ARRAYS = 1000
_LONGEST_HEADER = 10_000  # bytes; numpy's own limit
_PROBLEM = "is damaged, or not a readable .npz file of plain arrays"
# No data that is worth reading is packed so well: images to a third, tables to a twentieth. Small files may be.
_MOST_PACKED, _SMALL = 100, 256 * 2**20
_CHUNK = 2**20  # bytes that are unpacked at a time


@dataclass(frozen=True)
class ArrayHeader:
    """What an array is, before it is read.

    Args:
        shape: its sides.
        dtype: numbers, truth values or text; never objects.
        by_column: whether it is stored column by column (Fortran's order).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def array_headers(path: Path | str) -> dict[str, ArrayHeader]:
    """Name and header of every array of an .npz file; no array is unpacked.

    Raises:
        FileNotFoundError: there is no file.
        UserError: damaged, or with entries that are no arrays of numbers or text.
    """
    with _archive(path) as archive:
        headers = {}
        for name, entry in _entries(archive).items():
            with archive.open(entry) as stream:
                headers[name] = _header(stream, entry)
        return headers


def read_arrays(path: Path | str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file.

    Args:
        path: path of the file.
        names: names of the arrays to read; None for all.

    Raises:
        FileNotFoundError: there is no file.
        UserError: as `array_headers`, or more than memory holds, or packed as no data is.
    """
    wanted = {name: header for name, header in array_headers(path).items() if names is None or name in names}
    num_bytes = sum(header.num_bytes for header in wanted.values())
    check_holds(num_bytes, f"The arrays {', '.join(list(wanted)[:8])} of {path}")
    with _archive(path) as archive:
        entries = _entries(archive)
        packed = sum(entries[name].compress_size for name in wanted if name in entries)
        if num_bytes > max(_SMALL, _MOST_PACKED * packed):
            raise UserError(
                f"{path} {_PROBLEM}: {packed:,} bytes would become {num_bytes:,}, which no real data does. "
                "Save the arrays with numpy.savez, unpacked, if they are as they should be."
            )
        return {name: _read(archive, entries[name], header) for name, header in wanted.items()}


@contextmanager
def _archive(path: Path | str) -> Iterator[zipfile.ZipFile]:
    with open_file(path) as file, refusing(path, _PROBLEM), zipfile.ZipFile(file) as archive:
        yield archive


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            raise ValueError(f"its entry {name!r} is no array")
        if name in found or len(found) == MOST_ARRAYS:
            raise ValueError(f"it has {name!r} twice" if name in found else f"it has more than {MOST_ARRAYS} arrays")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is packed in a way that numpy does not use")
        found[name] = entry
    return found


def _header(stream: IO[bytes], entry: zipfile.ZipInfo) -> ArrayHeader:
    """The header at the start of an array, which must agree with the size in the zip file's directory."""
    start = stream.read(8)
    readers = {
        b"\x93NUMPY\x01\x00": (2, np.lib.format.read_array_header_1_0),
        b"\x93NUMPY\x02\x00": (4, np.lib.format.read_array_header_2_0),
    }
    if start not in readers:
        raise ValueError(f"{entry.filename} is no array of format 1.0 or 2.0")
    size, read = readers[start]
    length = stream.read(size)
    count = int.from_bytes(length, "little")
    if count > _LONGEST_HEADER:
        raise ValueError(f"the header of {entry.filename} has {count:,} bytes")
    shape, by_column, dtype = read(io.BytesIO(length + stream.read(count)))
    if dtype.kind not in "biufUS" or dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{entry.filename} is {dtype} of shape {shape}; expected numbers or text")
    header = ArrayHeader(shape, dtype, by_column)
    if 8 + size + count + header.num_bytes != entry.file_size:
        raise ValueError(f"{entry.filename} has {entry.file_size:,} bytes, not those of shape {shape} of {dtype}")
    return header


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, expected: ArrayHeader) -> NDArray[Any]:
    with archive.open(entry) as stream:
        if _header(stream, entry) != expected:
            raise ValueError(f"{entry.filename} changed while it was read")
        content = bytearray(expected.num_bytes)
        view, at = memoryview(content), 0
        while at < len(content):
            part = stream.read(min(_CHUNK, len(content) - at))
            if not part:
                raise ValueError(f"{entry.filename} ends too early")
            view[at : at + len(part)] = part
            at += len(part)
        if stream.read(1):  # also lets the zip file's check sum be compared
            raise ValueError(f"{entry.filename} does not end where it should")
    values = np.frombuffer(content, expected.dtype) if content else np.empty(0, expected.dtype)
    return values.reshape(expected.shape, order="F" if expected.by_column else "C")
