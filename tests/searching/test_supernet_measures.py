"""Entropy of mixtures: 1 where nothing is decided, 0 where all is, whatever the candidates are."""

import math
from collections.abc import Mapping

import pytest
import torch

from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.relaxation import Sigmoid, Softmax
from dnas.searching.supernet_measures import mean_entropy

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (3, 4))  # two, three and one enter a node
FOUR = Decision("four", "choice", ("a", "b", "c", "d"))
TWO = Decision("two", "choice", ("a", "b"))
CELL = Decision("cell", "operations", ("a", "b", "c"), EDGES, output=(4,))
WEIGHTS = Decision("cell.edges", "edges", tuple(f"{i}->{j}" for i, j in EDGES), EDGES)


def entropy(values: Mapping[Decision, list], active: Active | None = None, *, gates: bool = False) -> float:
    decisions = {decision.name: decision for decision in values}
    mixtures = {
        decision.name: Mixture(torch.tensor(row, dtype=torch.float64), active) for decision, row in values.items()
    }
    return mean_entropy(decisions, mixtures, gates=gates)


def h(*shares: float) -> float:
    return -sum(p * math.log(p) for p in shares if p)


def test_it_is_1_for_equal_weights_and_0_for_a_single_one():
    assert entropy({FOUR: [0.25] * 4}) == pytest.approx(1)
    assert entropy({FOUR: [1.0, 0.0, 0.0, 0.0]}) == 0
    assert entropy({FOUR: [0.5, 0.25, 0.25, 0.0]}) == pytest.approx(h(0.5, 0.25, 0.25) / math.log(4))


def test_it_is_of_shares_and_each_row_counts_once():
    assert entropy({TWO: [2.0, 2.0]}) == pytest.approx(1)
    rows = [[1.0, 0.0, 0.0]] * 5 + [[1 / 3] * 3]
    assert entropy({CELL: rows}) == pytest.approx(1 / 6)
    assert entropy({CELL: rows, TWO: [0.5, 0.5]}) == pytest.approx(2 / 7)


def test_candidates_that_are_ruled_out_do_not_count():
    assert entropy({FOUR: [0.5, 0.0, 0.5, 0.0]}, ((0, 2),)) == pytest.approx(1)
    assert entropy({FOUR: [0.75, 0.0, 0.25, 0.0]}, ((0, 2),)) == pytest.approx(h(0.75, 0.25) / math.log(2))
    assert entropy({FOUR: [0.0, 1.0, 0.0, 0.0]}, ((1,),)) == 0
    assert entropy({FOUR: [0.0] * 4}, ((),)) == 0


def test_edges_compete_with_those_that_enter_the_same_node():
    equal = [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1.0]
    assert entropy({WEIGHTS: equal}) == pytest.approx(1)  # the single edge has no choice, and does not count
    assert entropy({WEIGHTS: equal}, gates=True) == pytest.approx(1)
    assert entropy({WEIGHTS: [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]}) == 0
    half = [0.25, 0.75, 1.0, 0.0, 0.0, 1.0]
    assert entropy({WEIGHTS: half}) == pytest.approx(h(0.25, 0.75) / math.log(2) / 2)


def test_gates_are_undecided_half_open_and_decided_open_or_closed():
    assert entropy({FOUR: [0.5] * 4}, gates=True) == pytest.approx(1)
    assert entropy({FOUR: [1.0, 1.0, 0.0, 1.0]}, gates=True) == 0
    nearly = entropy({FOUR: [0.99] * 4}, gates=True)
    assert nearly == pytest.approx(h(0.99, 0.01) / math.log(2))
    assert entropy({FOUR: [0.5, 0.0, 0.9, 0.0]}, ((0, 2),), gates=True) == pytest.approx(
        (1 + h(0.9, 0.1) / math.log(2)) / 2
    )
    assert entropy({FOUR: [0.5, 0.0, 0.0, 0.0]}, ((0,),), gates=True) == pytest.approx(1)
    assert entropy({FOUR: [0.0] * 4}, ((),), gates=True) == 0


def test_what_has_no_choice_does_not_count_and_alone_gives_0():
    one = Decision("one", "choice", ("a",))
    assert entropy({one: [1.0]}) == 0
    assert entropy({one: [1.0], TWO: [0.5, 0.5]}) == 1


def test_only_gates_say_that_they_are():
    assert Sigmoid().gates
    assert not Softmax().gates
