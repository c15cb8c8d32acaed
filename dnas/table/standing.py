"""Where an architecture stands among all of a table, in words."""

from __future__ import annotations

from dnas.architecture import Architecture
from dnas.table.order import NUM_ARCHITECTURES
from dnas.table.table import Table


def standing(table: Table, architecture: Architecture) -> str:
    """One line for each accuracy that the table knows: the value, the rank (1 is best) and the percentile.

    Raises:
        ValueError: not a cell of NAS-Bench-201.

    Example:
        >>> import numpy as np
        >>> table = Table({"test200_c10": np.arange(15625) / 200}, source="an example")
        >>> print(standing(table, table.best("test200_c10").architecture))
        test200_c10: 78.12, rank 1 of 15,625, better than 99.99 % of all
    """
    names = [name for name in table.columns if name.startswith(("test", "valid"))]
    return "\n".join(_line(table, architecture, name) for name in names if table.knows(architecture, name))


def _line(table: Table, architecture: Architecture, column: str) -> str:
    value, rank = table.accuracy(architecture, column), table.rank(architecture, column)
    share = table.percentile(architecture, column)
    return f"{column}: {value:.2f}, rank {rank:,} of {NUM_ARCHITECTURES:,}, better than {share:.2f} % of all"
