"""The integer program finds what looking at every architecture finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.core.decision import Decision
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import Item, allowed, first, items_of, kept_of
from dnas.cost.program import Bound, Cap, Program
from tests.support.enumeration import architectures, decision_sets, decompositions

SCORES = st.floats(-20, 0, allow_nan=False).map(lambda score: round(score, 3))


def program(decisions, **settings) -> Program:
    return Program(decisions, allowed(decisions), **settings)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_it_agrees_with_looking_at_every_architecture_under_two_budgets(data):
    decisions = data.draw(decision_sets())
    independent = data.draw(st.booleans())
    one, other = (data.draw(decompositions(decisions)) for _ in range(2))
    bounds = [Bound(one, data.draw(st.integers(0, 400))), Bound(other, data.draw(st.integers(0, 400)))]
    best = program(decisions, independent=independent)
    scores = {item: data.draw(SCORES) for item in best.items}
    fitting = [
        sum(scores[item] for item in items)
        for items, kept in architectures(decisions, independent=independent)
        if all(bound.cost.of(kept, decisions) <= bound.most for bound in bounds)
    ]
    kept = best.best(scores, bounds)
    assert (kept is None) == (not fitting)
    if kept is not None:
        assert all(bound.cost.of(kept, decisions) <= bound.most for bound in bounds)
        assert sum(scores[item] for item in items_of(kept, decisions)) == pytest.approx(max(fitting), abs=1e-6)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_cheapest_and_costliest_are_exactly_the_ends_of_all_costs_within_a_bound(data):
    decisions = data.draw(decision_sets())
    cost, other = (data.draw(decompositions(decisions)) for _ in range(2))
    bound = Bound(other, data.draw(st.integers(0, 400)))
    costs = [
        cost.of(kept, decisions) for _, kept in architectures(decisions) if other.of(kept, decisions) <= bound.most
    ]
    least, most = (find(cost, [bound]) for find in (program(decisions).cheapest, program(decisions).costliest))
    assert (least is None) == (most is None) == (not costs)
    if least is not None and most is not None:
        assert (cost.of(least, decisions), cost.of(most, decisions)) == (min(costs), max(costs))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_capped_candidates_are_kept_no_more_often_unless_nodes_have_nothing_else(data):
    decisions = data.draw(decision_sets().filter(lambda found: "cell" in found))
    cap = Cap("cell", "skip", data.draw(st.integers(0, 2)))
    options = allowed(decisions)
    rows = [data.draw(st.sampled_from([(1, 2), (2,), (1,)])) for _ in options["cell"]]
    options["cell"] = tuple(rows)
    best = Program(decisions, options, caps=[cap])
    scores = {item: data.draw(SCORES) for item in best.items}
    found = {
        items: sum(item.decision == "cell" and item.candidate == 2 for item in items)
        for items, _ in architectures(decisions, options=options)
    }
    most = max(cap.most, min(found.values()))
    kept = best.best(scores)
    assert kept is not None
    wanted = max(sum(scores[item] for item in items) for items, skips in found.items() if skips <= most)
    assert sum(scores[item] for item in items_of(kept, decisions)) == pytest.approx(wanted, abs=1e-6)


def test_a_limit_is_met_exactly_where_the_solver_would_let_a_little_more_pass():
    # One unit in a billion is less than what the solver calls equal.
    decisions = {"op": Decision("op", "choice", ("a", "b", "c"))}
    cost = Decomposition(0.0, {"op": ((1e9, 1e9 + 1, 1e9 + 2),)}, {})
    scores = {Item("op", 0, k): float(k) for k in range(3)}
    assert program(decisions).best(scores, [Bound(cost, 1e9 + 1)]) == {"op": "b"}
    assert program(decisions).best(scores, [Bound(cost, 1e9 - 1)]) is None


def test_what_is_in_no_option_is_never_kept_and_an_empty_group_has_no_architecture():
    decisions = {"op": Decision("op", "choice", ("a", "b"))}
    assert Program(decisions, {"op": ((1,),)}).best({}) == {"op": "b"}
    assert Program(decisions, {"op": ((),)}).best({}) is None


@given(decision_sets())
def test_items_and_what_is_kept_are_each_other_s_inverse(decisions):
    kept = first(decisions)
    assert kept_of(items_of(kept, decisions), decisions) == kept
