"""Tables of rows that are given: means, what validation selects, failures."""

import csv
import io
from dataclasses import replace

import pytest
import torch

from dnas import NasBench201Space
from dnas.compare.row import CompareRow, Found
from dnas.compare.table import (
    Columns,
    recipe_line,
    reference_line,
    rich_table,
    selected_by,
    to_csv,
    to_markdown,
    trajectory_csv,
    verdicts_text,
)

COLUMNS = Columns("valid", "test")
ARCHITECTURE = NasBench201Space().random(torch.Generator().manual_seed(0))


def a_row(seed: int, valid: float, test: float) -> CompareRow:
    found = Found(ARCHITECTURE, {"valid": valid, "test": test})
    return CompareRow("darts", seed, {}, {"device": "cpu"}, 10.0 * (seed + 1), found)


ROWS = [a_row(0, 80.0, 90.0), a_row(1, 82.0, 87.0), a_row(2, 81.0, 93.0)]


def line(rows, **changes):
    arguments = {"columns": COLUMNS, "percentiles": [10.0, 30.0], "baseline": [1.0, 2.0]}
    arguments |= {"is_baseline": False, "against_random": "p < 0.0001 (better)"}
    return recipe_line("darts", rows, **{**arguments, **changes})


def test_a_line_of_three_runs():
    found = line(ROWS)
    assert (found.n, found.failed, found.mean, found.std, found.best) == (3, 0, 90.0, 3.0, 93.0)
    assert found.selected == 87.0  # of the run that validation likes best, which is not the best by test
    assert found.percentile == 20.0
    assert found.seconds == 20.0
    assert found.against_baseline == "too few seeds"


def test_a_run_that_failed_counts_apart():
    failed = replace(ROWS[1], found=None, failure="the loss is nan", seconds=0.0)
    found = line([ROWS[0], failed])
    assert (found.n, found.failed, found.mean, found.std, found.seconds) == (1, 1, 90.0, None, 10.0)
    nothing = line([failed], percentiles=[])
    assert (nothing.n, nothing.mean, nothing.best, nothing.selected, nothing.percentile) == (0, None, None, None, None)
    assert "| darts" in to_markdown([nothing], caption="", baseline="darts")


def test_where_lower_is_better_the_lowest_is_best_and_selects_and_what_is_no_share_has_four_digits():
    columns = Columns("valid", "test", metric="mse", better="lower")
    found = line([a_row(0, 0.3, 0.25), a_row(1, 0.2, 0.123456)], columns=columns)
    assert (found.best, found.selected) == (0.123456, 0.123456)
    assert "| 0.1235 " in to_markdown([found], caption="", baseline="darts")
    assert (columns.in_units(0.25), COLUMNS.in_units(0.25)) == (0.25, 25.0)
    assert columns.verdict([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 7.0]).endswith("(better)")


def test_the_first_of_equal_runs_is_selected():
    assert selected_by([1.0, 3.0, 3.0], [7.0, 8.0, 9.0]) == 8.0
    assert selected_by([], []) is None


def test_markdown_has_one_column_for_each_heading():
    text = to_markdown([line(ROWS), line(ROWS, is_baseline=True)], caption="What it is.", baseline="gdas")
    caption, empty, *table = text.splitlines()
    assert (caption, empty) == ("What it is.", "")
    assert {row.count("|") for row in table} == {13}
    assert "against gdas" in table[0]
    assert [cell.strip() for cell in table[2].split("|")][1:7] == ["darts", "3", "", "90.00", "3.00", "93.00"]
    assert [cell.strip() for cell in table[3].split("|")][-3:-1] == ["baseline", "p < 0.0001 (better)"]


def test_the_agreement_has_a_column_where_it_was_measured():
    measured = line([replace(ROWS[0], agreement=0.5), replace(ROWS[1], agreement=0.25), ROWS[2]])
    assert measured.agreement == 0.375
    head, _, row, without = to_markdown([measured, line(ROWS)], caption="", baseline="gdas").splitlines()[2:]
    place = [cell.strip() for cell in head.split("|")].index("tau")
    assert [text.split("|")[place].strip() for text in (row, without)] == ["0.38", ""]
    assert "tau" not in to_markdown([line(ROWS)], caption="", baseline="gdas")


def test_csv_keeps_all_digits():
    rows = list(csv.DictReader(io.StringIO(to_csv([line(ROWS, percentiles=[1 / 3])]))))
    assert float(rows[0]["percentile"]) == 1 / 3
    assert rows[0]["failed"] == "0"


def test_the_trajectory_is_in_long_form_with_the_deciding_columns_first():
    known = Found(ARCHITECTURE, {"a": 1.0, "valid": 2.0, "test": 3.0}, epoch=1)
    rows = [replace(ROWS[0], trajectory=(known, Found(ARCHITECTURE, epoch=2)))]
    lines = list(csv.reader(io.StringIO(trajectory_csv(rows, COLUMNS))))
    assert lines[0] == ["recipe", "seed", "epoch", "string", "test", "valid", "a"]
    assert lines[1] == ["darts", "0", "1", known.string, "3.0", "2.0", "1.0"]
    assert lines[2][2:] == ["2", known.string, "", "", ""]


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_for_a_terminal_shows_every_number_whole(width: int):
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO())
    whole = reference_line(
        "random architecture (whole table)", [float(n) / 157 for n in range(15625)], None, 50.0, columns=COLUMNS
    )
    found = line([replace(row, agreement=-0.25) for row in ROWS])
    console.print(rich_table([found, replace(found, recipe="drnas_progressive", failed=2), whole]))
    text = console.export_text()
    for word in ("15625", "90.00", "49.76", "99.52", "20.0", "drnas_progressive", "failed", "-0.25", "50.0"):
        assert word in text
    assert "…" not in text


def test_tests_are_told_recipe_by_recipe_where_they_differ():
    lines = [
        line(ROWS, is_baseline=True),
        replace(line(ROWS), recipe="gdas", against_random="p = 0.2000 (worse)"),
        reference_line("random", [1.0], None, None, columns=COLUMNS),
    ]
    assert verdicts_text(lines, baseline="darts") == (
        "Against darts: too few seeds.\nAgainst random: darts p < 0.0001 (better), gdas p = 0.2000 (worse)."
    )
    assert verdicts_text(lines[2:], baseline="darts") == ""
