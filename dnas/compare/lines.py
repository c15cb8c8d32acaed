"""The lines of the table: one for each recipe, then the references that it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from dnas.compare.grid import Grid
from dnas.compare.row import CompareRow
from dnas.compare.table import (
    Columns,
    Line,
    recipe_line,
    reference_line,
    selected_by,
)
from dnas.formats import read_nasbench201
from dnas.table import Table
from dnas.training.significance import verdict_on_mean

TRIVIAL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def table_lines(grid: Grid, rows: Sequence[CompareRow], random: Sequence[Mapping[str, float]]) -> list[Line]:
    """A line for each recipe that has rows, then what they have to beat."""
    columns = grid.columns
    baseline = [row.values[columns.report] for row in rows if row.recipe == grid.baseline and row.found is not None]
    lines = []
    for recipe in dict.fromkeys(row.recipe for row in rows):
        own = [row for row in rows if row.recipe == recipe]
        lines.append(
            recipe_line(
                recipe,
                own,
                columns=columns,
                percentiles=[p for row in own if row.found is not None for p in _percentiles(grid, row, random)],
                baseline=baseline,
                is_baseline=recipe == grid.baseline,
                against_random=_against_random(grid, own, random),
            )
        )
    return [*lines, *(_table_references(grid.table, columns) if grid.table else _random_references(columns, random))]


def _percentiles(grid: Grid, row: CompareRow, random: Sequence[Mapping[str, float]]) -> list[float]:
    """The percentile of a row among random architectures; empty if there are none."""
    assert row.found is not None
    if grid.table is not None:
        return [grid.table.percentile(row.found.architecture, grid.columns.report)]
    return (
        [
            percentile_among(
                row.values[grid.columns.report],
                [one[grid.columns.report] for one in random],
                better=grid.columns.better,
            )
        ]
        if random
        else []
    )


def _against_random(grid: Grid, rows: Sequence[CompareRow], random: Sequence[Mapping[str, float]]) -> str:
    """A test of whether a recipe's runs are better than random architectures, in words.

    The mean of a whole table is known exactly; that of some architectures is as uncertain as the recipe's own.
    """
    report = grid.columns.report
    values = [row.values[report] for row in rows if row.found is not None]
    if grid.table is not None:
        return verdict_on_mean(values, grid.table.summary(report).mean)
    return grid.columns.verdict(values, [one[report] for one in random]) if random else ""


def percentile_among(value: float, others: Sequence[float], *, better: Literal["higher", "lower"] = "higher") -> float:
    """Percentage of `others` that are worse, 0 to 100; a tie counts half."""
    lower, equal = sum(other < value for other in others), sum(other == value for other in others)
    worse = lower if better == "higher" else len(others) - lower - equal
    return 100 * (worse + equal / 2) / len(others)


def _table_references(table: Table, columns: Columns) -> list[Line]:
    select, report = (table.columns[name].astype(np.float64) for name in (columns.select, columns.report))
    known = ~np.isnan(select) & ~np.isnan(report)
    values, deciding = report[known].tolist(), select[known].tolist()
    best, trivial = table.best(columns.report), read_nasbench201(TRIVIAL)
    return [
        reference_line("random architecture (whole table)", values, None, None, columns=columns),
        reference_line(
            "best of the table",
            [best.value],
            selected_by(deciding, values),
            table.percentile(best.architecture, columns.report),
            columns=columns,
        ),
        reference_line(
            "every edge nor_conv_3x3",
            [table.accuracy(trivial, columns.report)],
            None,
            table.percentile(trivial, columns.report),
            columns=columns,
        ),
    ]


def _random_references(columns: Columns, random: Sequence[Mapping[str, float]]) -> list[Line]:
    if not random:
        return []
    values = [one[columns.report] for one in random]
    chosen = selected_by([one[columns.select] for one in random], values, better=columns.better)
    return [reference_line("random architectures", values, chosen, 50.0, columns=columns)]
