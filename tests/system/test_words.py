"""Durations, counts and tables of text."""

import pytest

from dnas.system.words import aligned, csv_cell, number_of, printable, readable_time, seconds_in


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0 s"), (119, "119 s"), (150, "2.5 min"), (1500, "25 min"), (7199, "120 min"), (9000, "2.5 h")],
)
def test_times_are_said_as_people_say_them(value: float, text: str):
    assert readable_time(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("90s", 90), ("90sec", 90), ("30min", 1800), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), (" 1 min ", 60)],
)
def test_a_time_is_a_number_with_a_unit(text: str, value: float):
    assert seconds_in(text) == value


@pytest.mark.parametrize(
    "text", ["", "90", "min", "1:30", "0s", "-1s", "nans", "infh", "1d", "two h", "1e400s", "1 hour"]
)
def test_other_times_are_refused_with_an_example(text: str):
    with pytest.raises(ValueError, match="such as 90s, 30min or 2h"):
        seconds_in(text)


def test_one_thing_is_counted_in_the_singular():
    assert [number_of(count, "thread") for count in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]


def test_columns_of_a_table_have_equal_widths_and_each_its_side():
    assert aligned([("name", "n", "note"), ("a", "12", "")], "<><") == ["name   n  note", "a     12"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        aligned([("a", "b"), ("c",)], "<<")


def test_what_steers_a_terminal_is_written_out_and_other_scripts_stay():
    assert printable("a\x1b[31mb\x07\u202e猫\n\tc") == "a\\x1b[31mb\\x07\\x202e猫\n\tc"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-x", "@SUM(1)", "\tx"])
def test_what_a_spreadsheet_would_take_for_a_formula_begins_with_an_apostrophe(text):
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["cat", "-1", "+2.5", "a=b", ""])
def test_other_names_are_cells_as_they_are(text):
    assert csv_cell(text) == text
