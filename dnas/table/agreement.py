"""How far two rankings agree: Kendall's tau, and a supernet's ranking against a table's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnas.core.architecture import Architecture
from dnas.system.errors import UserError
from dnas.table.table import Table


def kendall_tau(a: ArrayLike, b: ArrayLike) -> float:
    """Kendall's tau-b of two lists of numbers: 1 for the same order, -1 for the reverse, about 0 for unrelated ones.

    tau_b = (P - Q) / sqrt((N - T_a) (N - T_b))

    over all N = n (n - 1) / 2 pairs. P pairs are in the same order in both lists, Q in opposite order, T_a and T_b are
    tied in a and in b (Kendall 1945, The treatment of ties in ranking problems, https://doi.org/10.2307/2332303).
    It takes n^2 / 2 comparisons, and memory for n numbers.

    Args:
        a: (n,) finite numbers.
        b: (n,) finite numbers; `a[i]` and `b[i]` belong to the same thing.

    Returns:
        NaN if all of `a` or all of `b` are equal, since there is no ranking then.

    Raises:
        UserError: the lists differ in length, have fewer than 2 entries, or an entry is not finite.

    Example:
        >>> kendall_tau([1, 2, 3, 4], [1, 3, 2, 4])
        0.6666666666666666
    """
    a, b = _numbers(a, "first"), _numbers(b, "second")
    if a.shape != b.shape:
        raise UserError(f"Two rankings must be of the same things; got {len(a)} and {len(b)} numbers.")
    if len(a) < 2:
        raise UserError(f"A ranking needs at least 2 entries; got {len(a)}.")
    # Comparisons instead of signs of differences, which can overflow.
    concordance = sum(int(np.sum(_order(a[i], a[i + 1 :]) * _order(b[i], b[i + 1 :]))) for i in range(len(a) - 1))
    pairs = len(a) * (len(a) - 1) // 2
    untied = (pairs - _tied_pairs(a)) * (pairs - _tied_pairs(b))
    return concordance / math.sqrt(untied) if untied else math.nan


def rank_agreement(
    architectures: Sequence[Architecture], accuracies: Sequence[float], *, table: Table, column: str
) -> float:
    """Kendall's tau-b between given accuracies of architectures, such as a supernet's, and those in a table.

    Args:
        architectures: at least 2 architectures.
        accuracies: one for each architecture, in any unit.
        table: the table to compare with.
        column: column of the table, such as 'valid200_c10'.

    Raises:
        UserError: the column lacks an architecture, or as in `kendall_tau`.
    """
    return kendall_tau(accuracies, [table.accuracy(architecture, column) for architecture in architectures])


def _numbers(values: ArrayLike, which: str) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1:
        raise UserError(f"A ranking is a list of numbers; the {which} one has shape {numbers.shape}.")
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise UserError(f"A ranking needs finite numbers; entry {place} of the {which} one is {numbers[place]}.")
    return numbers


def _order(one: np.float64, others: NDArray[np.float64]) -> NDArray[np.int8]:
    """1 if `one` is larger, -1 if it is smaller, 0 if they are equal."""
    return np.subtract(one > others, one < others, dtype=np.int8)


def _tied_pairs(values: NDArray[np.float64]) -> int:
    count = np.unique(values, return_counts=True)[1]
    return int((count * (count - 1) // 2).sum())
