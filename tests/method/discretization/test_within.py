"""What is kept within a budget."""

from typing import NoReturn

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnas.core.decision import Decision, edges_name
from dnas.core.mixture import Mixture
from dnas.cost.band import BAND
from dnas.cost.bounds import Bounds, Range, bounds_of
from dnas.cost.budget import Budget, Limit
from dnas.cost.decomposition import Decomposition
from dnas.cost.layout import allowed, items_of
from dnas.method.discretization import Argmax, Evolution, LimitedSkips, Perturbation, RandomSampling, Threshold
from dnas.method.discretization.within import WithinBudget, program_of, rules_of, scores
from dnas.system.errors import UserError
from tests.support.enumeration import EDGES, architectures, decision_sets, decompositions


def never(*arguments) -> NoReturn:
    raise AssertionError("discretizations by strength look at the mixtures only")


def drawn(decisions, seed: int) -> dict[str, Mixture]:
    """Mixtures without ties."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Mixture(torch.rand(one.shape, generator=generator, dtype=torch.float64))
        for name, one in decisions.items()
    }


def bounds(decisions, rule, limits) -> Bounds:
    """Limits of some decompositions and numbers, whatever their range."""
    program = program_of(decisions, allowed(decisions), rules_of(rule))
    ranges = [Range(Limit("flops", most, False), cost, 0.0, 1e9) for cost, most in limits]
    return Bounds(program, ranges)


WEIGHED = {
    "cell": Decision("cell", "operations", ("none", "conv", "skip"), EDGES, 2, ("none",), (2, 3)),
    edges_name("cell"): Decision(edges_name("cell"), "edges", tuple(map(str, EDGES)), EDGES),
    "from": Decision("from", "inputs", ("a", "b", "c"), num_kept=2),
    "op": Decision("op", "choice", ("a", "b")),
}


@pytest.mark.parametrize("weighs_edges", [False, True])
@pytest.mark.parametrize("rule", [Argmax(), Threshold(0.3), Threshold(0.8), Threshold(1.0), Threshold(0.0)])
def test_without_a_budget_the_best_is_what_argmax_and_threshold_keep(rule, weighs_edges):
    decisions = {name: one for name, one in WEIGHED.items() if weighs_edges or one.kind != "edges"}
    for seed in range(20):
        mixtures = drawn(decisions, seed)
        wanted = rule(decisions, mixtures, evaluate=never, train=never)
        assert WithinBudget(rule, bounds(decisions, rule, [])).best(decisions, mixtures) == wanted


@given(decision_sets(), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_without_a_budget_it_is_so_for_any_decisions(decisions, seed):
    mixtures = drawn(decisions, seed)
    for rule in (Argmax(), Threshold(0.5)):
        wanted = rule(decisions, mixtures, evaluate=never, train=never)
        assert WithinBudget(rule, bounds(decisions, rule, [])).best(decisions, mixtures) == wanted


def test_without_a_budget_limited_skips_are_as_they_were_and_with_one_no_more_than_that():
    rule = LimitedSkips(candidate="skip", most=1, decisions=("cell",))
    for seed in range(20):
        mixtures = drawn(WEIGHED, seed)
        wanted = rule(WEIGHED, mixtures, evaluate=never, train=never)
        within = WithinBudget(rule, bounds(WEIGHED, rule, []))
        assert within(WEIGHED, mixtures, evaluate=never, train=never) == wanted
        best = within.best(WEIGHED, mixtures)
        score = scores(WEIGHED, mixtures, within.bounds.program.items, rules_of(rule))
        worth = [sum(score[item] for item in items_of(kept, WEIGHED)) for kept in (best, wanted)]
        # It takes the weakest skip connections away one by one, which is not always the best way to have so few.
        assert worth[0] >= worth[1] - 1e-9
        assert sum(edge.operation == "skip" for edge in best["cell"].edges) <= 1  # type: ignore[union-attr]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_the_best_of_all_that_fits(data):
    decisions = data.draw(decision_sets())
    mixtures = drawn(decisions, data.draw(st.integers(0, 10_000)))
    rule = data.draw(st.sampled_from([Argmax(), Threshold(0.5)]))
    limits = [(data.draw(decompositions(decisions)), float(data.draw(st.integers(50, 400)))) for _ in range(2)]
    own = bounds(decisions, rule, limits)
    ways = architectures(decisions, independent=rules_of(rule).threshold is not None)
    fitting = [items for items, kept in ways if own.fits(kept)]
    assume(fitting)
    score = scores(decisions, mixtures, own.program.items, rules_of(rule))
    best = max(sum(score[item] for item in items) for items in fitting)
    kept = WithinBudget(rule, own).best(decisions, mixtures)
    assert own.fits(kept)
    assert sum(score[item] for item in items_of(kept, decisions)) == pytest.approx(best, abs=1e-6)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_what_a_budget_has_pushed_is_the_best_of_all_that_fits_and_uses_it(data):
    decisions = data.draw(decision_sets())
    mixtures = drawn(decisions, data.draw(st.integers(0, 10_000)))
    limits = [(data.draw(decompositions(decisions)), float(data.draw(st.integers(50, 400)))) for _ in range(2)]
    own = bounds(decisions, Argmax(), limits)
    fitting = [(items, own.use(kept)) for items, kept in architectures(decisions) if own.fits(kept)]
    assume(fitting)
    top = max(use for _, use in fitting)
    assume(top >= BAND * 1.02)  # what is used at the most is known to within a hundredth
    score = scores(decisions, mixtures, own.program.items, rules_of(Argmax()))
    best = max(sum(score[item] for item in items) for items, use in fitting if use >= BAND)
    kept = WithinBudget(Argmax(), own, is_pushed=True)(decisions, mixtures, evaluate=never, train=never)
    assert own.fits(kept)
    assert own.use(kept) >= BAND
    assert sum(score[item] for item in items_of(kept, decisions)) == pytest.approx(best, abs=1e-6)


def test_what_fits_by_itself_is_kept_however_little_it_uses_unless_a_budget_has_pushed_it_there():
    decisions = {"op": Decision("op", "choice", ("big", "small", "tiny"))}
    mixtures = {"op": Mixture(torch.tensor([0.2, 0.3, 0.5]))}
    cost = Decomposition(0.0, {"op": ((10.0, 9.0, 1.0),)}, {})
    own = bounds(decisions, Argmax(), [(cost, 9.5)])
    found = [
        WithinBudget(Argmax(), own, is_pushed=pushed)(decisions, mixtures, evaluate=never, train=never)
        for pushed in (False, True)
    ]
    assert found == [{"op": "tiny"}, {"op": "small"}]


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_what_tries_candidates_passes_over_whatever_has_no_completion_that_fits(data):
    decisions = data.draw(decision_sets())
    cost = data.draw(decompositions(decisions))
    costs = [cost.of(kept, decisions) for _, kept in architectures(decisions)]
    most = max(data.draw(st.sampled_from(sorted(costs))), 1.0)
    assume(most >= min(costs))
    rules = [Perturbation(1), RandomSampling(5), Evolution(population=4, generations=2, parents=2)]
    mixtures = drawn(decisions, 0)
    seen = []

    def evaluate(active) -> float:
        seen.append(active)
        return (len(seen) * 37 % 101) / 101

    for rule in rules:
        own = bounds(decisions, rule, [(cost, most)])
        kept = WithinBudget(rule, own)(decisions, mixtures, evaluate=evaluate, train=lambda epochs, active: None)
        assert own.fits(kept)


def test_candidates_that_were_ruled_out_are_kept_where_nothing_else_fits():
    decisions = {"op": Decision("op", "choice", ("big", "small"))}
    mixtures = {"op": Mixture(torch.tensor([1.0, 0.0]), ((0,),))}
    cost = Decomposition(0.0, {"op": ((10.0, 1.0),)}, {})
    within = WithinBudget(Argmax(), bounds(decisions, Argmax(), [(cost, 5.0)]))
    assert within(decisions, mixtures, evaluate=never, train=never) == {"op": "small"}


def test_a_budget_below_the_smallest_network_is_refused_with_both_numbers():
    decisions = {"op": Decision("op", "choice", ("big", "small"))}
    cost = Decomposition(1000.0, {"op": ((9000.0, 200.0),)}, {})
    program = program_of(decisions, allowed(decisions), rules_of(Argmax()))
    with pytest.raises(UserError, match=r"from 1,200 to 10,000 parameters. Give parameters<=1200 or more"):
        bounds_of(Budget(("parameters<=1k",)), {"parameters": cost}, program)
    (found,) = bounds_of(Budget(("parameters<=50%",)), {"parameters": cost}, program).ranges
    assert (found.least, found.most, found.largest) == (1200.0, 5000.0, 10_000.0)
    (found,) = bounds_of(Budget(("parameters<=20k",)), {"parameters": cost}, program).ranges
    assert str(found).endswith("at most 20,000, which changes nothing")


def test_limits_that_cannot_be_met_at_once_are_refused():
    decisions = {"op": Decision("op", "choice", ("a", "b"))}
    flops = Decomposition(0.0, {"op": ((1.0, 9.0),)}, {})
    parameters = Decomposition(0.0, {"op": ((9.0, 1.0),)}, {})
    program = program_of(decisions, allowed(decisions), rules_of(Argmax()))
    with pytest.raises(UserError, match="within flops<=5 and parameters<=5 at once"):
        bounds_of(Budget(("flops<=5", "parameters<=5")), {"flops": flops, "parameters": parameters}, program)
