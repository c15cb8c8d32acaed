"""Grids that cannot be compared are refused, and columns are chosen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnas import DartsSpace, NasBench201Space, Regression
from dnas.compare.grid import RETRAINED, Grid, columns_of
from dnas.compare.table import Columns
from dnas.jobs.job import Job
from dnas.table import Table

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
    assert columns_of(None, None, None, Regression()) == replace(RETRAINED, metric="mse", better="lower")


def test_columns_that_are_not_there():
    with pytest.raises(ValueError, match=r"no column 'x'; name another with --select, of test200_c10, valid200_c10"):
        columns_of(TABLE, "x", None)
    with pytest.raises(ValueError, match=r"no column 'valid200_c10'; name another with --select, of accuracy"):
        columns_of(Table({"accuracy": np.arange(NUM)}, source="made up"), None, None)
    with pytest.raises(ValueError, match="without --table leave them out"):
        columns_of(None, None, "test200_c10")
