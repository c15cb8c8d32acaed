"""The table of cells that were trained alike."""

import json
import math

import pytest

from dnas.formats import published
from dnas.language.table import CellComparison, CellRow

CELL = published("DARTS_RNN_V2")


def row(name: str, validation: float, test: float, seconds: float = 60.0) -> CellRow:
    return CellRow(name, CELL, 12345, validation, test, seconds)


FOUND = row("found", 5.0, 6.0)
RANDOM = (row("random 0", 5.5, 7.0), row("random 1", 5.25, 6.5), row("random 2", 5.75, 5.5))


def comparison(*random: CellRow, beside: tuple[CellRow, ...] = ()) -> CellComparison:
    return CellComparison(FOUND, beside, random, 240.0, "char")


def test_the_findings_are_those_of_the_numbers():
    # Tests 7, 6.5, 5.5: mean 6.333, sum of squares 4/9 + 1/36 + 25/36 = 7/6, deviation sqrt(7/12).
    one, two, three = comparison(*RANDOM).findings()
    assert one.startswith("Perplexity per character: the lower, the better.")
    assert "better than 2 of 3 random ones" in two
    assert two.endswith(f"their mean is 6.333 +/- {math.sqrt(7 / 12):.3f}.")
    # Random search looks at validation alone: not at random 2, the best in the test.
    assert "random 1: 6.500 on the test part after 3.0 min" in three
    assert three.endswith("the search and its training took 5.0 min for 6.000.")


def test_equal_perplexities_are_not_better():
    assert (
        "better than 0 of 1 random ones on the test part; their mean is 6.000."
        in comparison(row("r", 5, 6)).findings()[1]
    )


def test_the_table_has_a_line_for_each_cell_in_order():
    lines = comparison(*RANDOM, beside=(row("DARTS_RNN_V2", 5.0, 5.9),)).to_text().splitlines()
    assert [line.split("  ")[0] for line in lines[:6]] == [
        *("cell", "found", "DARTS_RNN_V2", "random 0", "random 1", "random 2")
    ]
    assert lines[1].split() == ["found", "5.000", "6.000", "12,345", "60", "s", "(search", "4.0", "min)"]
    assert lines[0].index("validation") + len("validation") == lines[1].index("5.000") + len("5.000")
    assert lines[6] == ""


def test_a_row_comes_back_from_its_file():
    assert CellRow.from_data(json.loads(json.dumps(FOUND.to_data())), source="file") == FOUND
    data = comparison(*RANDOM).to_data()
    assert [CellRow.from_data(one, source="file") for one in data["random"]] == list(RANDOM)


@pytest.mark.parametrize(
    "change", [{"test": "low"}, {"seconds": None}, {"architecture": {}}, {"test": 0.5}, {"name": 1}]
)
def test_a_damaged_row_is_refused(change: dict):
    with pytest.raises(ValueError, match=r"file|Perplexities of 'found' must be 1 or more"):
        CellRow.from_data({**FOUND.to_data(), **change}, source="file")


def test_perplexities_and_times_that_cannot_be():
    with pytest.raises(ValueError, match="must be 1 or more"):
        row("x", math.nan, 2.0)
    with pytest.raises(ValueError, match="seconds of 'x' must be 0 or more"):
        row("x", 2.0, 2.0, math.inf)
