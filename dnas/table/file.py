"""A table as one compressed .npz file, which numpy reads without this package (docs/tables.md).

| array | content |
|---|---|
| `format` | the text 'dnas-table' |
| `version` | the integer 1 |
| `space` | the text 'nasbench201' |
| `source` | where the numbers come from, in words |
| `op_names (5,)` | names of the operations |
| `edges (6, 2)` | source and target state of each edge |
| `ops (15625, 6) uint8` | operation of each edge of each architecture, as an index into `op_names`; official order |
| any other `NAME (15625,) float32` | a column; NaN where unknown |

Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnas.space.nasbench201 import CANDIDATES, EDGES
from dnas.system import atomic
from dnas.system.errors import UserError
from dnas.system.reading import arrays as reading
from dnas.table.order import NUM_ARCHITECTURES, official_operations, operation_string
from dnas.table.table import Table

FORMAT = "dnas-table"
VERSION = 1
_FIXED = ("format", "version", "space", "source", "op_names", "edges", "ops")
# Arguments of numpy.savez_compressed, which takes arrays by name.
_RESERVED = (*_FIXED, "file", "allow_pickle")


def save_table(table: Table, path: str | Path) -> None:
    """Write a table whole or not at all; the same table always gives the same bytes.

    Raises:
        UserError: a column has a name that the format itself uses.
    """
    clash = [name for name in table.columns if name in _RESERVED]
    if clash:
        raise UserError(f"A table file cannot have a column named {clash[0]!r}: the format uses that name itself.")
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "space": np.array(table.space),
        "source": np.array(table.source),
        "op_names": np.array(CANDIDATES),
        "edges": np.array(EDGES),
        "ops": official_operations(),
        **table.columns,
    }
    atomic.write(Path(path), lambda file: np.savez_compressed(file, **arrays))


def load_table(path: str | Path) -> Table:
    """Read and validate a table file.

    Raises:
        UserError: the file is missing, damaged, of another format, version or space, has architectures missing, twice
            or in another order, or has a bad column; the message names the file.
    """
    arrays = read_arrays(path)
    try:
        _check_header(arrays)
        _check_operations(arrays["ops"])
        columns = {name: array for name, array in arrays.items() if name not in _FIXED}
        for name, array in columns.items():
            if array.dtype != np.float32:
                raise UserError(f"column {name!r} must be float32; got {array.dtype}.")
        return Table(columns, source=str(arrays["source"]))
    except ValueError as error:
        raise UserError(f"{path} cannot be used as a table: {error}") from None


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file; nothing is unpickled.

    Raises:
        UserError: the file is missing, or not a whole .npz file; the message names the file.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no file {path}.")
    return reading.read_arrays(path)


def is_table_file(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the arrays claim to be of this format, in any version."""
    return "format" in arrays and _plain(arrays["format"]) == FORMAT


def _check_header(arrays: Mapping[str, NDArray[Any]]) -> None:
    if not is_table_file(arrays):
        hint = " `dnas table` makes one of arrays with 'arch' strings." if "arch" in arrays else ""
        raise UserError(f"its 'format' is not {FORMAT!r}; it holds {', '.join(sorted(arrays)) or 'nothing'}.{hint}")
    missing = [name for name in _FIXED if name not in arrays]
    if missing:
        raise UserError(f"it has no {', '.join(missing)}.")
    if _plain(arrays["version"]) != VERSION:
        raise UserError(f"it is of version {_plain(arrays['version'])}, and this dnas reads version {VERSION}.")
    if _plain(arrays["space"]) != Table.space:
        raise UserError(f"it is of space {_plain(arrays['space'])!r}; expected {Table.space!r}.")
    if not isinstance(_plain(arrays["source"]), str):
        raise UserError(f"its 'source' must be a text; got {arrays['source'].dtype} {arrays['source'].shape}.")
    for name, expected in (("op_names", list(CANDIDATES)), ("edges", [list(edge) for edge in EDGES])):
        if arrays[name].tolist() != expected:
            raise UserError(f"its {name!r} must be {expected}; got {arrays[name].tolist()}.")


def _plain(array: NDArray[Any]) -> Any:
    """The text or number in an array without dimensions; for others, the list."""
    return array.tolist()


def _check_operations(ops: NDArray[Any]) -> None:
    if ops.ndim != 2 or ops.shape[1] != len(EDGES) or ops.dtype != np.uint8:
        raise UserError(f"'ops' must be ({NUM_ARCHITECTURES}, {len(EDGES)}) of uint8; got {ops.shape} of {ops.dtype}.")
    if (ops >= len(CANDIDATES)).any():
        raise UserError(f"'ops' has an operation {int(ops.max())}; there are {len(CANDIDATES)}, counted from 0.")
    unique, first, count = np.unique(ops, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        # Report the one whose first copy comes first in the file.
        twice = min((int(first[k]), k) for k in np.flatnonzero(count > 1))[1]
        raise UserError(f"architecture {operation_string(unique[twice].tolist())} is there {count[twice]} times.")
    if len(ops) != NUM_ARCHITECTURES:
        raise UserError(
            f"it has {len(ops):,} architectures, expected all {NUM_ARCHITECTURES:,}; give the missing ones NaN."
        )
    wrong = np.flatnonzero((ops != official_operations()).any(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"its architectures are not in the official order: row {row} is {operation_string(ops[row].tolist())}, "
            f"expected {operation_string(official_operations()[row].tolist())}."
        )
