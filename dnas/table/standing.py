"""The rank of an architecture among all of a table."""

from __future__ import annotations

from typing import Any

from dnas.core.architecture import Architecture
from dnas.table.order import NUM_ARCHITECTURES
from dnas.table.table import Table


def standing(table: Table, architecture: Architecture) -> str:
    """One line for each accuracy in the table: the value, the rank (1 is best) and the percentile.

    Raises:
        UserError: the architecture is not a cell of NAS-Bench-201.

    Example:
        >>> import numpy as np
        >>> table = Table({"test200_c10": np.arange(15625) / 200}, source="an example")
        >>> print(standing(table, table.best("test200_c10").architecture))
        test200_c10: 78.12, rank 1 of 15,625, better than 99.99 % of all
    """
    return "\n".join(
        f"{name}: {found['value']:.2f}, rank {found['rank']:,} of {NUM_ARCHITECTURES:,}, better than "
        f"{found['percentile']:.2f} % of all"
        for name, found in standing_data(table, architecture)["columns"].items()
    )


def standing_data(table: Table, architecture: Architecture) -> dict[str, Any]:
    """The same as plain data for a JSON file, with all digits: source of the table, value, rank, percentile by column.

    Raises:
        UserError: the architecture is not a cell of NAS-Bench-201.
    """
    names = [name for name in table.columns if name.startswith(("test", "valid"))]
    columns = {
        name: {
            "value": table.accuracy(architecture, name),
            "rank": table.rank(architecture, name),
            "percentile": table.percentile(architecture, name),
        }
        for name in names
        if table.knows(architecture, name)
    }
    return {"table": table.source, "num_architectures": NUM_ARCHITECTURES, "columns": columns}
