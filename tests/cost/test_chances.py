"""The chance that a candidate is kept, and the expected cost."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import dnas.cost.chances
from dnas.core.decision import Decision, edges_name
from dnas.core.mixture import Mixture
from dnas.cost.chances import Chances, ExpectedCosts
from dnas.cost.decomposition import Decomposition
from tests.support.enumeration import EDGES, architectures, decision_sets, decompositions

WEIGHTS = st.floats(0.01, 0.99).map(lambda weight: round(weight, 3))


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.cost.chances).failed == 0


def drawn_mixtures(data, decisions) -> dict[str, Mixture]:
    return {
        name: Mixture(
            torch.tensor(
                [data.draw(WEIGHTS) for _ in range(torch.Size(one.shape).numel())], dtype=torch.float64
            ).reshape(one.shape)
        )
        for name, one in decisions.items()
    }


def mean_cost(decisions, mixtures, cost, *, threshold=None) -> float:
    """The cost of every architecture by its probability, which is in proportion to the product of its odds."""
    total = expected = 0.0
    for items, kept in architectures(decisions, independent=threshold is not None):
        probability = 1.0
        for name, row, k in items:
            value = mixtures[name].values.reshape(-1, len(decisions[name].candidates))[row, k].item()
            if threshold is not None and decisions[name].kind != "choice":
                value = value * (1 - threshold) / ((1 - value) * threshold)
            if edges_name(name) in mixtures:
                value *= mixtures[edges_name(name)].values[row].item()
            probability *= value
        total += probability
        expected += probability * cost.of(kept, decisions)
    return expected / total


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_expected_cost_is_the_mean_over_all_architectures_by_their_probability(data):
    decisions = data.draw(decision_sets())
    cost, mixtures = data.draw(decompositions(decisions)), drawn_mixtures(data, decisions)
    expected = ExpectedCosts(decisions, [cost])(mixtures)
    assert expected.item() == pytest.approx(mean_cost(decisions, mixtures, cost), rel=1e-9)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_with_independent_gates_too(data):
    decisions = data.draw(decision_sets())
    cost, mixtures = data.draw(decompositions(decisions)), drawn_mixtures(data, decisions)
    threshold = data.draw(WEIGHTS)
    expected = ExpectedCosts(decisions, [cost], threshold=threshold)(mixtures)
    assert expected.item() == pytest.approx(mean_cost(decisions, mixtures, cost, threshold=threshold), rel=1e-9)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_weights_of_edges_count(data):
    cell = Decision("cell", "operations", ("none", "conv", "skip"), EDGES, 1, ("none",), (2, 3))
    edges = Decision(edges_name("cell"), "edges", tuple(map(str, EDGES)), EDGES)
    decisions = {"cell": cell, edges.name: edges}
    mixtures = drawn_mixtures(data, decisions)
    cost = Decomposition(3.0, {"cell": tuple((float(e), 2.0 * e + 1, 7.0 - e) for e in range(len(EDGES)))}, {})
    expected = ExpectedCosts(decisions, [cost])(mixtures)
    assert expected.item() == pytest.approx(mean_cost(decisions, mixtures, cost), rel=1e-9)


def test_three_of_five_edges_stay_with_the_chances_of_all_subsets():
    edges = tuple((source, 5) for source in range(5))
    decisions = {"c": Decision("c", "operations", ("a", "b"), edges, 3, (), (5,))}
    values = torch.tensor([[0.1, 0.4], [0.2, 0.2], [0.9, 0.05], [0.3, 0.1], [0.6, 0.6]], dtype=torch.float64)
    mixtures = {"c": Mixture(values)}
    cost = Decomposition(0.0, {"c": ((1.0, 2.0), (4.0, 8.0), (16.0, 32.0), (64.0, 128.0), (256.0, 512.0))}, {})
    expected = ExpectedCosts(decisions, [cost])(mixtures)
    assert expected.item() == pytest.approx(mean_cost(decisions, mixtures, cost), rel=1e-12)


def test_the_chances_of_a_node_add_up_to_what_it_keeps_and_excluded_candidates_have_none():
    decisions = {"c": Decision("c", "operations", ("none", "conv", "skip"), EDGES, 1, ("none",), (2, 3))}
    values = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chances = Chances(decisions)
    found = dict(zip(chances.items, chances({"c": Mixture(values)}).tolist(), strict=True))
    assert all(item.candidate != 0 for item in found)
    for node in (2, 3):
        entering = [chance for item, chance in found.items() if EDGES[item.row][1] == node]
        assert sum(entering) == pytest.approx(1, rel=1e-12)


def test_the_gradient_is_that_of_the_function():
    decisions = {
        "c": Decision("c", "operations", ("none", "conv", "skip"), EDGES, 1, ("none",), (2, 3)),
        "op": Decision("op", "choice", ("a", "b")),
    }
    cost = Decomposition(0.0, {"c": ((0.0, 3.0, 1.0),) * 5, "op": ((5.0, 2.0),)}, {})
    for threshold in (None, 0.6):
        expected = ExpectedCosts(decisions, [cost], threshold=threshold)

        def of(cell, choice, expected=expected):
            return expected({"c": Mixture(cell), "op": Mixture(choice)})

        generator = torch.Generator().manual_seed(1)
        cell = torch.rand(5, 3, generator=generator, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
        choice = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(of, (cell, choice))


def test_rows_of_zeros_count_as_equal_weights():
    decisions = {"op": Decision("op", "choice", ("none", "a", "b"), excluded=("none",))}
    mixtures = {"op": Mixture(torch.tensor([1.0, 0.0, 0.0]))}
    assert_close(Chances(decisions)(mixtures), torch.tensor([0.5, 0.5], dtype=torch.float64))
