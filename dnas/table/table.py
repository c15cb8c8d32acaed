"""The results of every architecture of NAS-Bench-201, and the rank of an architecture among all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnas.core.architecture import Architecture
from dnas.formats import read_nasbench201, write_nasbench201
from dnas.space import NasBench201Space
from dnas.system.errors import UserError
from dnas.table.order import NUM_ARCHITECTURES, official_strings, rows_of_strings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+@-]*(/[A-Za-z0-9][A-Za-z0-9_.+@-]*)?")


@dataclass(frozen=True)
class Entry:
    """One architecture of a table with its value in one column."""

    row: int
    architecture: Architecture
    value: float


@dataclass(frozen=True)
class Summary:
    """A column over all architectures with known values; `std` is that of the population (N, not N - 1)."""

    num_known: int
    mean: float
    std: float
    median: float
    max: float


@dataclass(frozen=True, eq=False)
class Table:
    """All 15,625 architectures of NAS-Bench-201 in the official order, with named columns of numbers.

    Dong and Yang 2020, https://arxiv.org/abs/2001.00326; Dong et al. 2021 (NATS-Bench),
    https://arxiv.org/abs/2009.00437. Columns are kept as float32, as in a file, so that a table in memory ranks like
    the same table loaded; accuracies are in percent. Architectures with an unknown value (NaN) take no part in ranks,
    percentiles and summaries. A larger value is better, unless `lower_is_better`.

    Args:
        columns: name -> (15625,) numbers, NaN if unknown. A name may have a part after a slash, such as
            'latency_ms/pixel2'.
        source: origin of the numbers, in words.

    Raises:
        UserError: there is no column, or a column has a bad name, another length, infinite values, or no known value.

    Example:
        >>> table = Table({"test200_c10": np.arange(15625) / 200}, source="an example")
        >>> best = table.best("test200_c10")
        >>> best.row, best.value, table.rank(best.architecture, "test200_c10")
        (15624, 78.12000274658203, 1)
    """

    columns: Mapping[str, NDArray[Any]]
    source: str
    space: ClassVar[str] = NasBench201Space.name

    def __post_init__(self) -> None:
        if not self.columns:
            raise UserError(f"A table needs at least one column of {NUM_ARCHITECTURES:,} numbers; got none.")
        object.__setattr__(self, "columns", {name: _column(name, values) for name, values in self.columns.items()})

    def row_of(self, architecture: Architecture) -> int:
        """The official index, 0 to 15624.

        Raises:
            UserError: it is not a cell of NAS-Bench-201 with one of its operations on each of the six edges.
        """
        return rows_of_strings()[write_nasbench201(architecture)]

    def architecture(self, row: int) -> Architecture:
        """The architecture of an official index."""
        if not 0 <= row < NUM_ARCHITECTURES:
            raise UserError(f"Row {row} is not in the table; rows are 0 to {NUM_ARCHITECTURES - 1}.")
        return read_nasbench201(official_strings()[row])

    def knows(self, architecture: Architecture, column: str) -> bool:
        """Whether an architecture has a value in a column."""
        return not bool(np.isnan(self._values(column)[self.row_of(architecture)]))

    def accuracy(self, architecture: Architecture, column: str) -> float:
        """The value of an architecture in a column.

        Raises:
            UserError: there is no such architecture or column, or its value is unknown.
        """
        values, row = self._values(column), self.row_of(architecture)
        if np.isnan(values[row]):
            raise UserError(f"Column {column!r} does not know architecture {row}, {official_strings()[row]}.")
        return float(values[row])

    def rank(self, architecture: Architecture, column: str, *, lower_is_better: bool = False) -> int:
        """Rank, 1 for the best: the number of better ones plus one, so that equal values share the best rank."""
        value = self.accuracy(architecture, column)
        values = self._values(column)
        return 1 + int(np.count_nonzero(values < value if lower_is_better else values > value))

    def percentile(self, architecture: Architecture, column: str, *, lower_is_better: bool = False) -> float:
        """Share of all (known) architectures that are worse, in percent: 0 for the worst, never quite 100."""
        value = self.accuracy(architecture, column)
        values = self._values(column)
        worse = np.count_nonzero(values > value if lower_is_better else values < value)
        return 100 * int(worse) / int(np.count_nonzero(~np.isnan(values)))

    def best(self, column: str, *, lower_is_better: bool = False) -> Entry:
        """The best architecture; of several with the same value, the first in the official order."""
        values = self._values(column)
        row = int(np.nanargmin(values) if lower_is_better else np.nanargmax(values))
        return Entry(row, self.architecture(row), float(values[row]))

    def summary(self, column: str) -> Summary:
        """Mean, standard deviation, median and largest value of a column."""
        values = self._values(column)
        known = values[~np.isnan(values)].astype(np.float64)
        return Summary(len(known), float(known.mean()), float(known.std()), float(np.median(known)), float(known.max()))

    def _values(self, column: str) -> NDArray[np.float32]:
        if column not in self.columns:
            raise UserError(f"The table has no column {column!r}; it has {', '.join(sorted(self.columns))}.")
        return self.columns[column]


def _column(name: str, values: ArrayLike) -> NDArray[np.float32]:
    """A read-only copy of the values, after checking them."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"A column's name is made of letters, digits and _ . + @ -, with at most one slash inside; got {name!r}."
        )
    given = np.asarray(values)
    if given.dtype.kind not in "fiu" or given.shape != (NUM_ARCHITECTURES,):
        raise UserError(
            f"Column {name!r} must hold one number for each of the {NUM_ARCHITECTURES:,} architectures; "
            f"got shape {given.shape} of {given.dtype}."
        )
    with np.errstate(over="ignore"):
        column = given.astype(np.float32)
    if np.isinf(column).any():
        row = int(np.flatnonzero(np.isinf(column))[0])
        raise UserError(f"Column {name!r} is infinite in row {row}; use NaN where a value is unknown.")
    if np.isnan(column).all():
        raise UserError(f"Column {name!r} knows no architecture: all {NUM_ARCHITECTURES:,} values are NaN.")
    column.flags.writeable = False
    return column
