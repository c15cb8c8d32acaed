"""Kendall's tau: closed forms, properties, and scipy where it is installed."""

import doctest
import math

import numpy as np
import pytest

import dnas.table.agreement
from dnas.table import Table, kendall_tau, rank_agreement


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.table.agreement).failed == 0


def test_the_same_order_is_1_and_the_reverse_is_minus_1():
    a = np.array([3.0, -1, 10, 4, 0])
    assert kendall_tau(a, np.exp(a)) == 1
    assert kendall_tau(a, -a) == -1


def test_each_exchange_of_neighbours_costs_two_pairs():
    # 10 pairs of 5 things.
    assert kendall_tau([1, 2, 3, 4, 5], [2, 1, 3, 4, 5]) == 8 / 10
    assert kendall_tau([1, 2, 3, 4, 5], [2, 1, 3, 5, 4]) == 6 / 10
    assert kendall_tau([1, 2, 3, 4, 5], [2, 3, 1, 5, 4]) == 4 / 10


def test_ties_are_counted_as_in_tau_b():
    # Pairs (1, 2), (1, 3) in order and (2, 3) tied in a: 2 / sqrt(2 * 3).
    assert kendall_tau([0, 1, 1], [0, 1, 2]) == pytest.approx(2 / math.sqrt(6), rel=1e-15)
    # The same tie in both is no disagreement; different ties are.
    assert kendall_tau([0, 1, 1], [5, 6, 6]) == 1
    assert kendall_tau([0, 0, 1], [0, 1, 1]) == pytest.approx(1 / 2, rel=1e-15)


def test_it_does_not_depend_on_order_scale_or_which_comes_first():
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 9, 40), generator.integers(0, 9, 40)
    tau, shuffled = kendall_tau(a, b), generator.permutation(40)
    assert kendall_tau(b, a) == tau
    assert kendall_tau(a[shuffled], b[shuffled]) == tau
    assert kendall_tau(3.0 * a - 7, 1e308 * (b / 9.0)) == tau
    assert kendall_tau(a, -b) == -tau


@pytest.mark.parametrize("num_values", [2, 5, 1000])
def test_it_equals_that_of_scipy(num_values: int):
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(num_values)
    for size in (2, 3, 17, 200):
        a, b = generator.integers(0, num_values, size), generator.integers(0, num_values, size)
        if len(set(a)) > 1 and len(set(b)) > 1:
            assert kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-14)


def test_without_a_ranking_there_is_no_agreement():
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
    assert math.isnan(kendall_tau([1, 2, 3], [4, 4, 4]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 2], [1, 2, 3], "got 2 and 3 numbers"),
        ([1], [1], "at least 2 entries; got 1"),
        ([1, math.nan], [1, 2], "entry 1 of the first one is nan"),
        ([1, 2], [math.inf, 2], "entry 0 of the second one is inf"),
        ([[1, 2]], [1, 2], r"first one has shape \(1, 2\)"),
    ],
)
def test_what_is_no_ranking_is_refused(a: list, b: list, message: str):
    with pytest.raises(ValueError, match=message):
        kendall_tau(a, b)


def test_a_supernet_is_compared_with_the_values_of_its_architectures():
    values = np.full(15_625, np.nan)
    values[[8, 3, 500]] = 50, 90, 70
    table = Table({"valid200_c10": values}, source="a test")
    found = [table.architecture(row) for row in (8, 3, 500)]
    assert rank_agreement(found, [0.1, 0.3, 0.2], table=table, column="valid200_c10") == 1
    assert rank_agreement(found, [0.1, 0.2, 0.3], table=table, column="valid200_c10") == pytest.approx(1 / 3, rel=1e-15)
    with pytest.raises(ValueError, match="does not know architecture 4"):
        rank_agreement([found[0], table.architecture(4)], [1, 2], table=table, column="valid200_c10")
    with pytest.raises(ValueError, match="got 2 and 3 numbers"):
        rank_agreement(found, [1, 2], table=table, column="valid200_c10")
