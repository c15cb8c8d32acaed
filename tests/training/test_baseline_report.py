"""The statistics of a comparison, against formulas and enumeration."""

import json
import math
from dataclasses import replace

import pytest

from dnas.core.architecture import Architecture
from dnas.training.baseline_report import comparison_data, comparison_table, findings
from dnas.training.comparison import Comparison
from dnas.training.intervals import clopper_pearson
from dnas.training.row import Row


def row(test: float, validation: float = 0.5, *, seconds: float = 10.0, name: str = "random") -> Row:
    return Row(name, Architecture({"act": "relu"}), 1000, validation, test, seconds)


def comparison(found: float, random: list[float], *, search_seconds: float = 0.0, num_test: int = 100) -> Comparison:
    """Validation accuracies are the test accuracies."""
    rows = tuple(row(accuracy, accuracy) for accuracy in random)
    return Comparison(row(found, found, name="found"), rows, search_seconds, num_test)


# The comparison


def test_mean_best_and_sample_deviation_are_those_of_the_test_accuracies():
    c = comparison(0.5, [0.2, 0.4, 0.9])
    assert c.mean == pytest.approx(0.5)
    assert c.best == 0.9
    assert c.deviation == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))
    assert comparison(0.5, [0.2]).deviation is None


def test_ties_count_half_in_the_percentile_and_widen_its_interval():
    c = comparison(0.5, [0.1, 0.2, 0.5, 0.5, 0.9])
    assert (c.num_beaten, c.num_tied, c.percentile) == (2, 2, 60.0)
    low, high = c.percentile_interval
    assert low == pytest.approx(100 * clopper_pearson(2, 5)[0])
    assert high == pytest.approx(100 * clopper_pearson(4, 5)[1])


def test_beating_all_of_eight_allows_to_say_that_it_beats_63_percent():
    assert comparison(0.9, [0.5] * 8).percentile_interval == (pytest.approx(63.06, abs=0.01), 100.0)


@pytest.mark.parametrize(("search_seconds", "affordable"), [(0.0, 1), (10.0, 2), (10.1, 3), (29.0, 4), (1000.0, 101)])
def test_random_search_gets_the_compute_of_the_search_rounded_up(search_seconds: float, affordable: int):
    assert comparison(0.5, [0.1, 0.2], search_seconds=search_seconds).num_affordable == affordable


def test_random_search_cannot_be_given_more_networks_than_were_trained_and_that_is_said():
    c = comparison(0.5, [0.1, 0.2], search_seconds=95.0)
    assert (c.num_affordable, c.num_drawn, c.random_search) == (11, 2, 0.2)
    assert any("pays for 11 trainings and only 2 were made" in line for line in findings(c))
    assert not any("pays for" in line for line in findings(comparison(0.5, [0.1, 0.2], search_seconds=10.0)))


def test_random_search_is_expected_to_reach_what_its_validation_choice_reaches():
    rows = (row(0.7, 0.9), row(0.8, 0.5), row(0.2, 0.1))
    c = Comparison(row(0.75, name="found"), rows, search_seconds=10.0, num_test=100)
    # Best of two by validation: the first in two of three draws (0.7), else the second (0.8).
    assert c.random_search == pytest.approx((2 * 0.7 + 0.8) / 3)
    assert c.search_wins


def test_opponents_have_the_time_of_their_search_and_a_sentence_each():
    beside = (row(0.8, name="halving"), row(0.7, name="evolution"), row(0.75, name="scores"), row(0.1, name="DARTS_V2"))
    spent = {"halving": 20.0, "evolution": 21.0, "scores": 22.0}
    c = Comparison(row(0.75, name="found"), (row(0.5),), 20.0, 100, beside, spent)
    assert [one.name for one in c.opponents] == list(spent)
    lines = comparison_table(c).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[3:7]] == [
        "30 s (search 20 s)",
        "31 s (search 21 s)",
        "32 s (search 22 s)",
        "10 s",
    ]
    assert findings(c)[:3] == [
        "halving found the better network with the same compute: the search 75.00%, halving 80.00%.",
        "The search found the better network with the same compute: the search 75.00%, evolution 70.00%.",
        "With the same compute scores found a network that is as good: 75.00%.",
    ]
    assert comparison_data(c)["opponent_seconds"] == spent
    counted = replace(c, compute={"the search": 9.83, "halving": 9.84}, flops={"halving": 2.9e8})
    assert findings(counted)[3].endswith(": the search 9.8, halving 9.8 (2.9e+08 FLOPs of training).")
    assert comparison_data(counted)["flops"] == {"halving": 2.9e8}


def test_a_search_that_loses_is_told_in_plain_words():
    text = comparison_table(comparison(0.5, [0.4, 0.6, 0.6], search_seconds=10.0))
    assert "Random search was as good or better: with the same compute it is expected to reach 60.00%" in text
    assert "the search reached 50.00%" in text
    assert "no better than the average random one" in text


def test_a_tie_with_random_search_is_not_a_win():
    c = comparison(0.6, [0.6, 0.6])
    assert not c.search_wins
    assert any("Random search was as good or better" in line for line in findings(c))


def test_a_search_that_wins_is_told_with_what_the_number_of_networks_allows():
    text = comparison_table(comparison(0.9, [0.4, 0.6, 0.5], search_seconds=10.0))
    assert "The search did better than random search with the same compute: 90.00%" in text
    assert "3 random networks do not show that the search beats the median architecture" in text
    assert "Random search was as good" not in text


def test_a_search_below_the_median_is_told():
    assert any("worse than the median" in line for line in findings(comparison(0.1, [0.5] * 8)))


def test_the_table_is_aligned_and_has_a_row_for_each_claim():
    lines = comparison_table(comparison(0.5, [0.4, 0.65], search_seconds=400.0)).splitlines()
    start = lines[0].index("test top-1")
    assert [line[start : start + 6] for line in lines[2:6]] == ["50.00%", "52.50%", "65.00%", "65.00%"]
    assert "6.8 min (search 6.7 min)" in lines[2]


def test_others_are_shown_below_the_found_network_and_change_no_statistics():
    alone = comparison(0.5, [0.4, 0.65])
    both = replace(alone, beside=(row(0.9, 0.1, name="DARTS_V2"),))
    lines = comparison_table(both).splitlines()
    assert lines[3].split()[:2] == ["DARTS_V2", "90.00%"]
    assert [" ".join(line.split()) for line in (*lines[2:3], *lines[4:])] == [
        " ".join(line.split()) for line in comparison_table(alone).splitlines()[2:]
    ]
    assert comparison_data(both)["beside"][0]["test"] == 0.9


def test_everything_can_be_written_as_json():
    c = comparison(0.5, [0.4, 0.65, 0.5], search_seconds=10.0)
    data = json.loads(json.dumps(comparison_data(c), allow_nan=False))
    assert data["percentile"] == 50.0
    assert data["same_compute"] == {"num_affordable": 2, "num_drawn": 2, "expected_test": c.random_search}
    assert data["search_wins"] is False
    assert len(data["random"]) == 3


def test_a_comparison_without_random_networks_is_refused():
    with pytest.raises(ValueError, match="at least one random network"):
        comparison(0.5, [])


# Rows


def test_a_row_is_read_as_it_was_written():
    before = row(0.5)
    assert Row.from_data(json.loads(json.dumps(before.to_data())), source="results.json, row 0") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": "0.5"}, "test must be of type float"),
        ({"test": float("inf")}, "test of 'random', its top1, must be a finite number"),
        ({"seconds": 0.0}, "seconds of 'random' must be over 0"),
        ({"parameters": True}, "parameters must be of type int"),
        ({"architecture": {"format": "x"}}, "is not an architecture"),
        ({"more": 1}, "must hold the entries"),
    ],
)
def test_a_damaged_row_is_told(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Row.from_data({**row(0.5).to_data(), **change}, source="results.json, row 0")


def test_a_row_of_a_classifier_is_read_as_it_was_written_before_there_were_other_metrics():
    new = row(0.5, 0.25)
    old = {name: value for name, value in new.to_data().items() if name not in ("metric", "better", "test_interval_95")}
    old = {"validation_top1": old.pop("validation"), "test_top1": old.pop("test"), **old}
    assert Row.from_data(old, source="results.json, row 0") == new


# Metrics that are better where they are lower


def errors(found: float, random: list[float], *, search_seconds: float = 0.0) -> Comparison:
    """Of a regression; validation errors are the test errors."""

    def one(name: str, error: float) -> Row:
        return Row(
            name, Architecture({"act": "relu"}), 1000, error, error, 10.0, "mse", "lower", (error / 2, 2 * error)
        )

    return Comparison(one("found", found), tuple(one("random", error) for error in random), search_seconds, 100)


def test_a_lower_error_is_better_everywhere():
    c = errors(20.0, [10.0, 20.0, 30.0, 40.0], search_seconds=10.0)
    assert (c.best, c.num_beaten, c.num_tied, c.percentile) == (10.0, 2, 1, 62.5)
    # The best of two of four, all pairs alike: 10 in three of six, 20 in two, 30 in one.
    assert c.random_search == pytest.approx((3 * 10 + 2 * 20 + 30) / 6)
    assert not c.search_wins
    assert errors(16.0, [10.0, 20.0, 30.0, 40.0], search_seconds=10.0).search_wins


def test_a_comparison_is_the_mirror_image_of_that_of_the_negative_values():
    values = [0.3, 0.1, 0.7, 0.3, 0.9]
    lower, higher = (
        errors(0.3, values, search_seconds=15.0),
        comparison(0.7, [1 - v for v in values], search_seconds=15.0),
    )
    assert lower.percentile == pytest.approx(higher.percentile)
    assert lower.random_search == pytest.approx(1 - higher.random_search)
    assert lower.search_wins == higher.search_wins


def test_the_table_names_the_metric_and_its_direction():
    text = comparison_table(errors(1234.5678, [2000.0, 3000.0]))
    assert "test mse (lower is better)" in text.splitlines()[0]
    assert "1235" in text.splitlines()[2]
    assert "mse is known to within 617.3 to 2469 (95%)" in text


def test_networks_with_different_metrics_are_not_compared():
    with pytest.raises(ValueError, match=r"same metric; they have mse \(lower is better\), top1 \(higher is better\)"):
        Comparison(row(0.5), errors(1.0, [2.0]).random, 0.0, 10)
