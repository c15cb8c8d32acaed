"""Grids that cannot be compared are refused, columns are chosen, percentiles counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnas import DartsSpace, NasBench201Space
from dnas.compare.accuracy import table_digest, table_values
from dnas.compare.grid import RETRAINED, Grid, columns_of
from dnas.compare.lines import TRIVIAL, percentile_among, table_lines
from dnas.compare.row import CompareRow, Found
from dnas.compare.table import Columns
from dnas.formats import read_nasbench201
from dnas.jobs.job import Job
from dnas.table import Table
from dnas.training.significance import verdict, verdict_on_mean

NUM = 15625
TABLE = Table({"valid200_c10": np.arange(NUM), "test200_c10": np.arange(NUM)[::-1]}, source="made up")
JOB = Job(space=NasBench201Space())


def a_grid(**changes) -> Grid:
    arguments = {
        "jobs": {"darts": JOB, "gdas": JOB},
        "seeds": 2,
        "out": Path("out"),
        "baseline": "darts",
        "table": TABLE,
        "columns": Columns("valid200_c10", "test200_c10"),
    }
    return Grid(**{**arguments, **changes})


def test_every_recipe_of_a_seed_comes_before_the_next_seed():
    assert a_grid().cases == [("darts", 0), ("gdas", 0), ("darts", 1), ("gdas", 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1; got 0"),
        ({"num_random": 0}, "num_random must be at least 1; got 0"),
        ({"agreement": 1}, "Agreement needs 2 to 15625 architectures; got 1"),
        ({"agreement": 5, "table": None, "columns": RETRAINED}, "agreement has no effect without a table"),
        ({"baseline": "snas"}, "one of the recipes, darts, gdas; got 'snas'"),
        ({"jobs": {"darts": replace(JOB, time="1h")}}, "same epochs, not a time"),
        ({"jobs": {"darts": replace(JOB, seed=3)}}, "leave out seed 3"),
        ({"jobs": {"darts": replace(JOB, space=DartsSpace())}}, "table is of space 'nasbench201', and darts searches"),
    ],
)
def test_a_grid_that_cannot_be_compared(changes, message: str):
    with pytest.raises(ValueError, match=message):
        a_grid(**changes)


def test_the_usual_columns_are_taken_where_nothing_is_said():
    assert columns_of(TABLE, None, None) == Columns("valid200_c10", "test200_c10")
    assert columns_of(TABLE, None, "valid200_c10") == Columns("valid200_c10", "valid200_c10")
    assert columns_of(None, None, None) == RETRAINED


def test_columns_that_are_not_there():
    with pytest.raises(ValueError, match=r"no column 'x'; name another with --select, of test200_c10, valid200_c10"):
        columns_of(TABLE, "x", None)
    with pytest.raises(ValueError, match=r"no column 'valid200_c10'; name another with --select, of accuracy"):
        columns_of(Table({"accuracy": np.arange(NUM)}, source="made up"), None, None)
    with pytest.raises(ValueError, match="without --table leave them out"):
        columns_of(None, None, "test200_c10")


def test_ties_count_half():
    assert percentile_among(2.0, [1.0, 2.0, 3.0, 4.0]) == 37.5
    assert percentile_among(5.0, [1.0]) == 100.0


def test_the_digest_of_a_table_changes_with_any_number_and_name():
    changed = np.arange(NUM, dtype=float)
    changed[7] += 0.5
    others = [{"a": changed}, {"b": np.arange(NUM)}, {"a": np.arange(NUM), "b": np.arange(NUM)}]
    digests = [table_digest(Table(columns, source="")) for columns in ({"a": np.arange(NUM)}, *others)]
    assert len(set(digests)) == 4


def test_unknown_values_are_left_out():
    known = np.arange(NUM, dtype=float)
    architecture = TABLE.architecture(3)
    known[3] = np.nan
    assert table_values(Table({"a": known, "b": np.arange(NUM)}, source=""), architecture) == {"b": 3.0}


def test_what_has_to_be_beaten_stands_below_the_recipes():
    grid = a_grid()
    random, best, trivial = table_lines(grid, [], [])
    assert (random.n, random.mean, random.best) == (NUM, 7812.0, 15624.0)
    assert random.std == pytest.approx(np.arange(NUM).std(ddof=1), rel=1e-12)
    assert (best.best, best.percentile) == (15624.0, 100 * 15624 / 15625)
    assert best.selected == 0.0  # validation is the reverse of test in this table
    assert trivial.mean == TABLE.accuracy(read_nasbench201(TRIVIAL), "test200_c10")


def found_rows(values: list[float]) -> list[CompareRow]:
    return [
        CompareRow("darts", seed, {}, {}, 1.0, Found(TABLE.architecture(seed), {"test200_c10": value}))
        for seed, value in enumerate(values)
    ]


def test_recipes_are_tested_against_the_mean_of_the_whole_table():
    values = [7814.0, 7815.0, 7813.0, 7816.0, 7814.5]
    rows = [row.with_values({"valid200_c10": 0.0}) for row in found_rows(values)]
    assert table_lines(a_grid(), rows, [])[0].against_random == verdict_on_mean(values, 7812.0)
    assert table_lines(a_grid(), rows[:4], [])[0].against_random == "too few seeds"
    assert {line.against_random for line in table_lines(a_grid(), rows, [])[1:]} == {""}


def test_without_a_table_recipes_are_tested_against_the_random_architectures():
    values, others = [5.0, 6.0, 7.0, 6.5, 5.5], [4.0, 5.0, 4.5, 4.2, 5.1, 3.9]
    grid = a_grid(table=None, columns=Columns("valid", "test200_c10"))
    rows = [row.with_values({"valid": 0.0}) for row in found_rows(values)]
    random = [{"valid": 0.0, "test200_c10": other} for other in others]
    assert table_lines(grid, rows, random)[0].against_random == verdict(values, others)
    assert table_lines(grid, rows, [])[0].against_random == ""
