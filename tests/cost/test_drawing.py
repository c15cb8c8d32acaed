"""Random architectures that use a budget."""

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dnas.cost.drawing
from dnas.core.decision import Decision
from dnas.cost.band import BAND
from dnas.cost.bounds import Bounds, Range
from dnas.cost.budget import Limit
from dnas.cost.decomposition import Decomposition
from dnas.cost.drawing import BandDraws
from dnas.cost.layout import allowed
from dnas.cost.program import Program
from tests.support.enumeration import EDGES, architectures, decision_sets, decompositions


def within(decisions, *limits) -> Bounds:
    program = Program(decisions, allowed(decisions))
    return Bounds(program, [Range(Limit("flops", most, False), cost, 0.0, 1e9) for cost, most in limits])


@given(st.data())
@settings(max_examples=6, deadline=None)
@pytest.mark.parametrize("small", [True, False])
def test_draws_are_within_the_budget_and_use_most_of_what_can_be_used(small, data):
    decisions = data.draw(decision_sets())
    limits = [(data.draw(decompositions(decisions)), float(data.draw(st.integers(50, 400)))) for _ in range(2)]
    bounds = within(decisions, *limits)
    uses = [bounds.use(kept) for _, kept in architectures(decisions) if bounds.fits(kept)]
    assume(uses)
    lower = BAND if max(uses) >= BAND else BAND * 0.99 * max(uses)
    with pytest.MonkeyPatch.context() as patch:
        if not small:
            patch.setattr(dnas.cost.drawing, "SMALL", 0)
            patch.setattr(dnas.cost.drawing, "TRIES", 50)
        draw = BandDraws(bounds)
        for seed in range(3):
            kept = draw(Random(seed))
            assert bounds.fits(kept)
            assert bounds.use(kept) >= lower - 1e-9
            assert draw(Random(seed)) == kept


@pytest.mark.parametrize("small", [True, False])
def test_architectures_are_drawn_in_proportion_to_the_stated_weights(small, monkeypatch):
    if not small:
        monkeypatch.setattr(dnas.cost.drawing, "SMALL", 0)
    decisions = {
        "cell": Decision("cell", "operations", ("none", "conv", "skip"), EDGES, 2, ("none",), (2, 3)),
        "a": Decision("a", "choice", ("x", "y", "z")),
        "b": Decision("b", "choice", ("x", "y")),
    }
    cost = Decomposition(
        10.0,
        {"cell": tuple((0.0, 3.0 + edge, 1.0) for edge in range(5)), "a": ((0.0, 2.0, 5.0),)},
        {("a", "b"): ((0.0, 1.0), (2.0, 4.0), (1.0, 6.0))},
    )
    bounds = within(decisions, (cost, 30.0))
    draw = BandDraws(bounds)
    weights = {
        str(kept): math.exp(-draw._strength * cost.of(kept, decisions) / 30.0)
        for _, kept in architectures(decisions)
        if bounds.fits(kept) and bounds.use(kept) >= BAND
    }
    total, draws = sum(weights.values()), 2000
    random = Random(0)
    found = Counter(str(draw(random)) for _ in range(draws))
    assert set(found) <= set(weights)
    expected = {name: draws * weight / total for name, weight in weights.items()}
    chi_square = sum((found[name] - mean) ** 2 / mean for name, mean in expected.items())
    # Mean len - 1 and variance 2 (len - 1): five deviations.
    assert chi_square < len(expected) - 1 + 5 * math.sqrt(2 * (len(expected) - 1))
