"""Lines of the table: percentiles, tests, and what has to be beaten."""

from pathlib import Path

import numpy as np
import pytest

from dnas import NasBench201Space
from dnas.compare.grid import Grid
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


def test_ties_count_half():
    assert percentile_among(2.0, [1.0, 2.0, 3.0, 4.0]) == 37.5
    assert percentile_among(5.0, [1.0]) == 100.0
    assert percentile_among(1.0, [1.0, 2.0, 3.0, 4.0], better="lower") == 87.5


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
