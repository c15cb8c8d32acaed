"""A limit in milliseconds is met as measured, or refused."""

from dataclasses import replace

import pytest

from dnas.core.architecture import Architecture
from dnas.core.decision import Decision
from dnas.cost.bounds import Bounds, Range
from dnas.cost.budget import Limit
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import allowed
from dnas.cost.program import Program
from dnas.searching.measured_budget import within_measured
from dnas.system.errors import UserError

DECISIONS = {"op": Decision("op", "choice", tuple("abcdefgh"))}
PREDICTED = Decomposition(0.0, {"op": (tuple(float(8 - k) for k in range(8)),)}, {})


def bounds(most: float) -> Bounds:
    """Networks of 8, 7, ... 1 milliseconds, as predicted."""
    return Bounds(
        Program(DECISIONS, allowed(DECISIONS)), [Range(Limit("milliseconds", most, False), PREDICTED, 1.0, 8.0)]
    )


def decide(own: Bounds) -> Architecture:
    """The slowest that fits."""
    kept = own.program.costliest(PREDICTED, own.all)
    assert kept is not None
    return Architecture(kept)


def slower(factor: float):
    return lambda kept: factor * PREDICTED.of(kept, DECISIONS)


def test_what_is_fast_enough_as_measured_is_taken_at_once():
    said = []
    found = within_measured(replace(bounds(5.5), measured=slower(1.1)), decide, said.append)
    assert found.decisions["op"] == "d"
    assert said == ["The network takes 5.5 milliseconds of at most 5.5, measured; 5 were predicted."]


def test_what_takes_longer_than_predicted_tightens_the_limit():
    said = []
    found = within_measured(replace(bounds(6.0), measured=slower(1.5)), decide, said.append)
    assert found.decisions["op"] == "e"
    assert len(said) == 2


def test_after_three_tighter_limits_it_is_refused_with_the_figure():
    tries = []

    def measured(kept) -> float:
        tries.append(kept)
        return 6.01

    with pytest.raises(UserError, match=r"takes 6 milliseconds or less as measured: the last of 4 took 6\.01"):
        within_measured(replace(bounds(6.0), measured=measured), decide, lambda line: None)
    assert len(tries) == 4


def test_where_nothing_is_faster_it_is_refused_with_the_range():
    with pytest.raises(UserError, match="below the smallest network"):
        within_measured(replace(bounds(6.0), measured=slower(50.0)), decide, lambda line: None)


def test_where_nothing_is_measured_predictions_decide():
    assert within_measured(bounds(6.0), decide, lambda line: None).decisions["op"] == "c"
