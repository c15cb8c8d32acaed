"""From other people's files of NAS-Bench-201 to a table file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnas.formats import read_nasbench201, write_nasbench201
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError
from dnas.table.file import is_table_file, read_arrays, save_table
from dnas.table.natsbench import from_nats_bench
from dnas.table.order import NUM_ARCHITECTURES, official_strings, rows_of_strings
from dnas.table.table import Table


def convert(source: Path, target: Path, *, display: Display = Silent()) -> str:
    """Make a table file from a NATS-Bench folder or .pbz2 file, or from an .npz file with `arch` strings.

    Returns:
        One line that describes the result.

    Raises:
        MissingPackage: the source is NATS-Bench, and the package nats_bench is not installed.
        UserError: the source is none of these, or damaged; the message names the file.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder; name the table file to write, such as {target / 'nasbench201.npz'}.")
    if source.is_dir() or source.suffix == ".pbz2":
        table = from_nats_bench(source, display=display)
    elif source.suffix == ".npz":
        arrays = read_arrays(source)
        if is_table_file(arrays):
            raise UserError(f"{source} is a table of dnas already; use it as it is.")
        try:
            table = from_arrays(arrays, source=source.name)
        except ValueError as error:
            raise UserError(f"{source} cannot be made a table: {error}") from None
    else:
        raise UserError(
            f"{source} is neither a NATS-Bench folder or .pickle.pbz2 file, nor an .npz file with 'arch' strings."
        )
    save_table(table, target)
    return (
        f"{target}: {NUM_ARCHITECTURES:,} architectures of {table.space} with {len(table.columns)} columns "
        f"({_shortened(list(table.columns))}) from {table.source}."
    )


def from_arrays(arrays: Mapping[str, NDArray[Any]], *, source: str) -> Table:
    """The table from named arrays, in any order of architectures.

    `arch` holds the 15,625 official strings. Every floating-point array with one number for each of them is a column. A
    two-dimensional array with K numbers for each is split into columns NAME/ENTRY, if exactly one array of K different
    texts or integers names them, such as the devices of a latency. Other arrays and columns without known values are
    left out.

    Raises:
        UserError: there is no `arch` or no column, an architecture is wrong, missing or repeated, or a column is bad.
    """
    rows = _rows(arrays)
    columns: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and len(array.shape) in (1, 2) and len(array) == NUM_ARCHITECTURES:
            columns |= {name: array} if array.ndim == 1 else _split(name, array, arrays)
    known = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    if not known:
        raise UserError(f"no array holds {NUM_ARCHITECTURES:,} floating-point numbers; it has {_shapes(arrays)}.")
    return Table({name: _placed(values, rows) for name, values in known.items()}, source=source)


def _rows(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """The official row of each entry of `arch`."""
    if "arch" not in arrays or arrays["arch"].dtype.kind != "U" or arrays["arch"].ndim != 1:
        raise UserError(f"it has no list of official strings named 'arch'; it has {_shapes(arrays)}.")
    # Written again, so that white space does not matter.
    rows = [
        rows_of_strings()[write_nasbench201(read_nasbench201(text, source=f"'arch', entry {place},"))]
        for place, text in enumerate(arrays["arch"].tolist())
    ]
    count = np.bincount(rows, minlength=NUM_ARCHITECTURES)
    if (count > 1).any():
        raise UserError(f"'arch' has {official_strings()[int(count.argmax())]} {count.max()} times.")
    if len(rows) != NUM_ARCHITECTURES:
        raise UserError(
            f"'arch' has {len(rows):,} architectures, expected all {NUM_ARCHITECTURES:,}; give the missing ones NaN."
        )
    return np.array(rows)


def _split(name: str, array: NDArray[Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Columns NAME/ENTRY; empty if no array, or more than one, could name them."""
    names = [
        other.tolist()
        for other in arrays.values()
        if other.dtype.kind in "Uiu" and other.shape == array.shape[1:] and len(set(other.tolist())) == len(other)
    ]
    return {f"{name}/{entry}": array[:, k] for k, entry in enumerate(names[0])} if len(names) == 1 else {}


def _placed(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    placed = np.empty_like(values)
    placed[rows] = values
    return placed


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> str:
    return _shortened([f"{name} {array.shape}" for name, array in arrays.items()]) or "nothing"


def _shortened(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
