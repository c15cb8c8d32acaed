"""Intervals and the expected best, against formulas, tables and enumeration."""

import itertools
import math

import pytest

from dnas.task.interval import wilson_interval
from dnas.training.intervals import clopper_pearson, expected_best

# Wilson


def test_wilson_interval_solves_its_equation():
    # Its ends are the q with |p - q| = z sqrt(q (1 - q) / n)  (Wilson 1927).
    z = 1.96
    for p, n in [(0.5, 10), (0.9, 270), (0.25, 4)]:
        for q in wilson_interval(p, n, z):
            assert abs(p - q) == pytest.approx(z * math.sqrt(q * (1 - q) / n), rel=1e-12)


def test_wilson_interval_stays_within_0_and_1_and_is_not_empty_at_the_ends():
    assert wilson_interval(0.0, 10)[0] == 0.0
    assert wilson_interval(0.0, 10, z=2.0)[1] == pytest.approx(4 / 14)  # z^2 / (n + z^2)
    assert wilson_interval(1.0, 10, z=2.0) == (pytest.approx(10 / 14), pytest.approx(1.0))


# Clopper-Pearson


@pytest.mark.parametrize("trials", [1, 8, 50])
def test_the_interval_of_none_or_all_has_its_closed_form(trials: int):
    # P(X = 0) = (1 - p)^n = 0.025
    edge = 0.025 ** (1 / trials)
    assert clopper_pearson(0, trials) == (0.0, pytest.approx(1 - edge, rel=1e-12))
    assert clopper_pearson(trials, trials) == (pytest.approx(edge, rel=1e-12), 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(1, 2), (3, 8), (7, 8), (40, 100)])
def test_each_end_of_the_interval_leaves_two_and_a_half_percent_outside(successes: int, trials: int):
    def probability(k: int, p: float) -> float:
        return math.comb(trials, k) * p**k * (1 - p) ** (trials - k)

    low, high = clopper_pearson(successes, trials)
    assert math.fsum(probability(k, low) for k in range(successes, trials + 1)) == pytest.approx(0.025, rel=1e-10)
    assert math.fsum(probability(k, high) for k in range(successes + 1)) == pytest.approx(0.025, rel=1e-10)


def test_the_interval_is_that_of_published_tables():
    # 10 of 20 and 15 of 20 at 95%, to the digits of common tables (and of R's binom.test).
    assert clopper_pearson(10, 20) == pytest.approx((0.2719578, 0.7280422), abs=1e-7)
    assert clopper_pearson(15, 20) == pytest.approx((0.5089541, 0.9134285), abs=1e-7)


def test_the_interval_of_two_thousand_trials_does_not_overflow():
    low, high = clopper_pearson(1000, 2000)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 2000), rel=0.02)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="0 <= successes <= trials"):
        clopper_pearson(3, 2)


# Best by validation


def enumerated(validation: list[float], test: list[float], count: int) -> float:
    """The mean over all orders of drawing, the first of equals being kept."""
    kept = []
    for order in itertools.permutations(range(len(test)), count):
        kept.append(test[max(order, key=lambda index: validation[index])])
    return math.fsum(kept) / len(kept)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "validation", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.1, 0.4, 0.1, 0.2], [0.3, 0.3, 0.1, 0.3, 0.1], [0.2] * 5]
)
def test_the_expected_best_is_the_mean_over_all_draws(validation: list[float], count: int):
    test = [0.9, 0.2, 0.7, 0.4, 0.35]
    assert expected_best(validation, test, count) == pytest.approx(enumerated(validation, test, count), rel=1e-12)


def test_validation_and_not_test_accuracy_chooses():
    assert expected_best([0.9, 0.1], [0.3, 0.8], 2) == 0.3


@pytest.mark.parametrize("count", [0, 3])
def test_more_networks_than_there_are_cannot_be_drawn(count: int):
    with pytest.raises(ValueError, match="a count from 1"):
        expected_best([0.1, 0.2], [0.1, 0.2], count)
