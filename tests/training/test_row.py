"""Rows of a comparison: what a file may hold."""

from dataclasses import replace

import pytest

from dnas import Architecture
from dnas.training.row import Row

ROW = Row("found", Architecture({"act": "relu"}), 10, 0.5, 0.75, 2.0)


def test_a_row_is_written_and_read():
    assert Row.from_data(ROW.to_data(), source="here") == ROW


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "mse", "test": float("nan")}, "its mse, must be a finite number"),
        ({"better": "more"}, "'higher' or 'lower'; got 'more'"),
        ({"seconds": 0.0}, "seconds of 'found' must be over 0"),
    ],
)
def test_values_out_of_range_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(ROW, **changed)


@pytest.mark.parametrize("interval", [[0.1], ["a", "b"]])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(ValueError, match="here: test_interval_95 must be two numbers"):
        Row.from_data({**ROW.to_data(), "test_interval_95": interval}, source="here")
