"""Means, deviations and Welch's test against their closed forms."""

import math
import sys

import pytest

from dnas.training.significance import deviation, mean, one_sample_p, verdict, verdict_on_mean, welch_p


def test_mean_and_sample_deviation():
    assert mean([1.0, 2.0, 6.0]) == 3.0
    assert deviation([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt(7.0), rel=1e-15)  # (4 + 1 + 9) / 2
    assert deviation([5.0]) is None


def test_welch_with_one_degree_of_freedom_has_a_closed_form():
    # n = 2 each, one side without spread: df = 1, where p = 1 - 2 / pi atan |t|; t = (3 - 0) / sqrt(2 / 2) = 3.
    assert welch_p([2.0, 4.0], [0.0, 0.0]) == pytest.approx(1 - 2 / math.pi * math.atan(3.0), rel=1e-12)


def test_welch_with_two_degrees_of_freedom_has_a_closed_form():
    # Equal variances and n = 2 each: df = 2, where p = 1 - |t| / sqrt(2 + t^2); s^2 = 2, t = 5 / sqrt(2).
    t = 5 / math.sqrt(2)
    assert welch_p([5.0, 7.0], [0.0, 2.0]) == pytest.approx(1 - t / math.sqrt(2 + t**2), rel=1e-12)


def test_welch_does_not_pool_variances():
    # One large group without spread and a small one with: pooling would give p far below Welch's.
    from scipy.stats import ttest_ind

    first, second = [1.0, 3.0, 2.0, 9.0, 5.0], [1.0, 1.1] * 20
    _, pooled = ttest_ind(first, second)
    p = welch_p(first, second)
    assert p is not None
    assert p / 10 > float(pooled)  # pyright: ignore[reportArgumentType]


def test_fewer_than_five_seeds_of_either_say_nothing():
    five, four = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0]
    assert verdict(five, four) == "too few seeds"
    assert verdict(four, five) == "too few seeds"
    assert verdict(five, five).startswith("p = 1.0000")


@pytest.mark.parametrize(("shift", "word"), [(1.0, "better"), (-1.0, "worse")])
def test_the_verdict_says_in_which_direction(shift: float, word: str):
    baseline = [1.0, 2.0, 3.0, 4.0, 5.0]
    values = [value + shift for value in baseline]
    p = welch_p(values, baseline)
    assert verdict(values, baseline) == f"p = {p:.4f} ({word})"


def test_tiny_p_is_not_written_as_zero():
    assert verdict([100.0, 101.0, 102.0, 103.0, 104.0], [1.0, 2.0, 3.0, 4.0, 5.0]) == "p < 0.0001 (better)"


def test_no_spread_at_all_has_no_test():
    assert welch_p([1.0, 1.0], [2.0, 2.0]) is None
    assert verdict([1.0] * 5, [2.0] * 5) == "no spread"


# Against a mean that is known exactly


def test_one_sample_with_one_degree_of_freedom_has_a_closed_form():
    # n = 2: df = 1, where p = 1 - 2 / pi atan |t|; s^2 = 2, t = (3 - 5) / sqrt(2 / 2) = -2.
    assert one_sample_p([2.0, 4.0], 5.0) == pytest.approx(1 - 2 / math.pi * math.atan(2.0), rel=1e-12)


def test_one_sample_with_two_degrees_of_freedom_has_a_closed_form():
    # n = 3: df = 2, where p = 1 - |t| / sqrt(2 + t^2); s^2 = 1, t = (2 - 0) sqrt(3).
    t = 2 * math.sqrt(3)
    assert one_sample_p([1.0, 2.0, 3.0], 0.0) == pytest.approx(1 - t / math.sqrt(2 + t**2), rel=1e-12)


@pytest.mark.parametrize(("known", "word"), [(2.5, "better"), (3.5, "worse")])
def test_the_verdict_on_a_known_mean(known: float, word: str):
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert verdict_on_mean(values, known) == f"p = {one_sample_p(values, known):.4f} ({word})"
    assert verdict_on_mean(values[:4], known) == "too few seeds"
    assert verdict_on_mean([7.0] * 5, known) == "no spread"


def test_without_scipy_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # what an import finds where it is not installed
    for test in (lambda: welch_p([1.0, 2.0], [3.0, 4.0]), lambda: one_sample_p([1.0, 2.0], 3.0)):
        with pytest.raises(ImportError, match="pip install"):
            test()
