"""What is kept of given mixtures."""

import pickle
from collections.abc import Mapping
from typing import NoReturn

import pytest
import torch

from dnas.core.architecture import Architecture, CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization import (
    Argmax,
    Discretization,
    Evolution,
    LimitedSkips,
    Perturbation,
    RandomSampling,
    Threshold,
)
from dnas.method.discretization.base import Trying
from dnas.method.discretization.within import WithinBudget

CANDIDATES = ("none", "conv", "pool")
EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Decision("c", "operations", CANDIDATES, EDGES, 2, ("none",), (2, 3))


def keep(discretization: Discretization, decision: Decision, values, edges=None) -> Kept:
    """What is kept of one decision; discretizations by strength neither evaluate nor train."""

    def never(*arguments) -> NoReturn:
        raise AssertionError("argmax and threshold look at the mixtures only")

    mixtures = {decision.name: Mixture(torch.tensor(values, dtype=torch.float64))}
    decisions: Mapping[str, Decision] = {decision.name: decision}
    if edges is not None:
        name = f"{decision.name}.edges"
        decisions = {**decisions, name: Decision(name, "edges", tuple(map(str, decision.edges)), decision.edges)}
        mixtures[name] = Mixture(torch.tensor(edges, dtype=torch.float64))
    kept = discretization(decisions, mixtures, evaluate=never, train=never)
    assert list(kept) == [decision.name]
    return kept[decision.name]


def cell(*edges: tuple[int, int, str]) -> CellArchitecture:
    return CellArchitecture(tuple(KeptEdge(*edge) for edge in edges), (2, 3))


VALUES = [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.8, 0.15, 0.05], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]]


# Argmax


def test_the_strongest_candidate_is_kept():
    assert keep(Argmax(), Decision("op", "choice", CANDIDATES), [0.2, 0.3, 0.5]) == "pool"


def test_excluded_candidates_are_passed_over_however_strong():
    assert keep(Argmax(), Decision("op", "choice", CANDIDATES, excluded=("none",)), [0.9, 0.06, 0.04]) == "conv"


def test_ties_break_by_order():
    assert keep(Argmax(), Decision("op", "choice", CANDIDATES), [0.2, 0.4, 0.4]) == "conv"
    assert keep(Argmax(), Decision("from", "inputs", ("a", "b", "c"), num_kept=2), [0.3, 0.3, 0.3]) == ("a", "b")
    assert keep(Argmax(), CELL, [[1 / 3] * 3] * 5) == cell(
        (0, 2, "conv"), (1, 2, "conv"), (0, 3, "conv"), (1, 3, "conv")
    )


def test_the_strongest_inputs_are_kept_in_their_order():
    assert keep(Argmax(), Decision("from", "inputs", ("a", "b", "c"), num_kept=2), [0.3, 0.1, 0.6]) == ("a", "c")


def test_each_node_keeps_its_two_edges_that_are_strongest_without_none():
    assert keep(Argmax(), CELL, VALUES) == cell((0, 2, "conv"), (1, 2, "pool"), (1, 3, "conv"), (2, 3, "pool"))


def test_without_a_limit_all_edges_are_kept_and_none_may_win_where_it_is_not_excluded():
    decision = Decision("c", "operations", CANDIDATES, EDGES, None, (), (2, 3))
    assert keep(Argmax(), decision, VALUES) == cell(
        (0, 2, "none"), (1, 2, "pool"), (0, 3, "none"), (1, 3, "conv"), (2, 3, "pool")
    )


def test_an_edge_is_as_strong_as_its_operation_times_its_own_weight():
    # Strengths into state 3: 0.15 * 0.7, 0.5 * 0.1, 0.4 * 0.2; without edge weights the first edge would be left out.
    assert keep(Argmax(), CELL, VALUES, edges=[0.5, 0.5, 0.7, 0.1, 0.2]) == cell(
        (0, 2, "conv"), (1, 2, "pool"), (0, 3, "conv"), (2, 3, "pool")
    )


def test_ruled_out_candidates_are_not_kept_while_others_are_there():
    assert keep(Argmax(), Decision("op", "choice", CANDIDATES), [0.0, 0.0, 1.0]) == "pool"


def test_edge_decisions_are_answered_by_the_cell_they_belong_to():
    assert keep(Argmax(), CELL, VALUES, edges=[0.5, 0.5, 1 / 3, 1 / 3, 1 / 3]) == keep(Argmax(), CELL, VALUES)


# Threshold


def test_every_operation_above_the_threshold_stays_at_most_two_per_node_strongest_first():
    values = [[0.99, 0.9, 0.86], [0.0, 0.95, 0.1], [0.0, 0.9, 0.0], [0.0, 0.1, 0.2], [0.0, 0.85, 0.84]]
    # Into state 2: 0.95, 0.9 (0.86 is one too many, none is excluded); into state 3 only 0.9 is above 0.85.
    assert keep(Threshold(0.85), CELL, values) == cell((0, 2, "conv"), (1, 2, "conv"), (0, 3, "conv"))


def test_two_operations_of_one_edge_may_both_stay():
    values = [[0.0, 0.9, 0.95], [0.0] * 3, [0.0, 0.9, 0.0], [0.0] * 3, [0.0, 0.0, 0.9]]
    assert keep(Threshold(), CELL, values) == cell((0, 2, "conv"), (0, 2, "pool"), (0, 3, "conv"), (2, 3, "pool"))


def test_where_nothing_passes_a_node_keeps_its_single_strongest_operation():
    values = [[0.9, 0.2, 0.1], [0.9, 0.1, 0.3], [0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.9, 0.1, 0.1]]
    assert keep(Threshold(), CELL, values) == cell((1, 2, "pool"), (0, 3, "conv"))


def test_a_value_at_the_threshold_does_not_pass():
    values = [[0.0, 0.85, 0.0], [0.0, 0.86, 0.0]] + [[0.0, 0.9, 0.0]] * 3
    assert keep(Threshold(0.85), CELL, values) == cell((1, 2, "conv"), (0, 3, "conv"), (1, 3, "conv"))


def test_without_a_limit_all_that_pass_stay():
    decision = Decision("c", "operations", CANDIDATES, EDGES, None, ("none",), (2, 3))
    kept = keep(Threshold(0.5), decision, [[0.9, 0.9, 0.9]] * 5)
    assert isinstance(kept, CellArchitecture)
    assert len(kept.edges) == 10


def test_inputs_that_pass_stay_at_least_the_strongest():
    decision = Decision("from", "inputs", ("a", "b", "c"), num_kept=2)
    assert keep(Threshold(0.5), decision, [0.6, 0.9, 0.7]) == ("b", "c")
    assert keep(Threshold(0.5), decision, [0.6, 0.1, 0.2]) == ("a",)
    assert keep(Threshold(0.5), decision, [0.1, 0.3, 0.2]) == ("b",)


def test_other_choices_keep_their_strongest_candidate():
    assert keep(Threshold(0.85), Decision("op", "choice", CANDIDATES, excluded=("none",)), [0.9, 0.1, 0.2]) == "pool"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]"):
        Threshold(threshold)


@pytest.mark.parametrize("discretization", [Argmax(), Threshold(), Threshold(0.0), Threshold(1.0)])
def test_what_is_kept_fits_its_decision_whatever_the_mixture(discretization):
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        values = torch.rand(5, 3, generator=generator).round(decimals=1).tolist()  # rounded: with ties
        kept = keep(discretization, CELL, values, edges=torch.rand(5, generator=generator).tolist())
        assert isinstance(kept, CellArchitecture)
        assert {edge.target for edge in kept.edges} == {2, 3}
        assert [edge.target for edge in kept.edges] == sorted(edge.target for edge in kept.edges)
        assert not any(edge.operation == "none" for edge in kept.edges)
        for node in (2, 3):
            assert sum(edge.target == node for edge in kept.edges) <= 2


def test_operations_pass_the_threshold_on_their_own_and_are_ordered_by_the_product_with_their_edge():
    values = [[0.0, 0.9, 0.0]] * 2 + [[0.0, 0.9, 0.1], [0.0, 0.1, 0.95], [0.0, 0.96, 0.1]]
    # Into state 3 all three pass; products are 0.45, 0.19 and 0.288.
    assert keep(Threshold(0.85), CELL, values, edges=[0.5, 0.5, 0.5, 0.2, 0.3]) == cell(
        (0, 2, "conv"), (1, 2, "conv"), (0, 3, "conv"), (2, 3, "conv")
    )
    # Where none passes, the strongest product stays.
    assert keep(Threshold(0.99), CELL, values, edges=[0.4, 0.6, 0.1, 0.7, 0.2]) == cell((1, 2, "conv"), (1, 3, "pool"))


@pytest.mark.parametrize("discretization", [Argmax(), Threshold(0.3)])
def test_candidates_that_are_not_active_are_passed_over_even_where_all_weigh_nothing(discretization):
    decision = Decision("op", "choice", CANDIDATES)
    mixture = Mixture(torch.zeros(3), ((2,),))
    assert discretization({"op": decision}, {"op": mixture}, evaluate=len, train=max) == {"op": "pool"}


@pytest.mark.parametrize("discretization", [Argmax(), Threshold(0.3)])
def test_edges_with_candidates_of_their_own_keep_them_by_their_names(discretization):
    own = (("none", "conv"), ("pool", "conv"))
    decision = Decision("c", "operations", ("0", "1"), ((0, 1), (0, 2)), 2, ("none",), (1, 2), own)
    assert keep(discretization, decision, [[0.9, 0.1], [0.9, 0.1]]) == CellArchitecture(
        (KeptEdge(0, 1, "conv"), KeptEdge(0, 2, "pool")), (1, 2)
    )


# All of them

EVERY = [
    Argmax(),
    Threshold(0.3),
    LimitedSkips(candidate="pool", most=1, decisions=("c", "own")),
    LimitedSkips(Threshold(0.3), candidate="pool", most=1, decisions=("c",)),
    Perturbation(epochs_between=1, seed=3),
    Evolution(population=4, generations=3, seed=3),
    RandomSampling(samples=7, seed=3),
]
OWN = tuple(("none", "conv") if edge < 3 else ("conv", "pool") for edge in range(5))
DECISIONS = {
    "op": Decision("op", "choice", CANDIDATES, excluded=("none",)),
    "from": Decision("from", "inputs", ("a", "b", "c"), num_kept=2),
    "c": CELL,
    "c.edges": Decision("c.edges", "edges", tuple(map(str, EDGES)), EDGES),
    "whole": Decision("whole", "operations", CANDIDATES, EDGES, None, (), (2, 3)),
    "own": Decision("own", "operations", ("0", "1"), EDGES, 2, ("none",), (2, 3), OWN),
}
ALLOWED = {"c": ((0, 2), (0,), (1,), (0, 1, 2), (1, 2)), "from": ((0, 2),)}


def test_every_discretization_is_tried_here():
    assert {type(discretization) for discretization in EVERY} == {
        kind
        for kind in (*Discretization.__subclasses__(), *Trying.__subclasses__())
        if kind.__module__.startswith("dnas.") and kind not in (Trying, WithinBudget)
    }


@pytest.mark.parametrize("discretization", EVERY)
def test_what_is_kept_answers_every_decision_and_is_the_same_again(discretization):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        mixtures = {
            name: Mixture(
                torch.rand(decision.shape, generator=generator, dtype=torch.float64).round(decimals=1),  # with ties
                ALLOWED.get(name) if seed % 2 else None,
            )
            for name, decision in DECISIONS.items()
        }
        before = {name: (mixture.values.clone(), mixture.active) for name, mixture in mixtures.items()}

        def evaluate(active: Mapping[str, Active], mixtures=mixtures) -> float:
            assert discretization.needs_training
            rows = [
                mixtures[name].values.reshape(decision.num_rows, -1)[row, k].item()
                for name, decision in DECISIONS.items()
                if decision.kind != "edges"
                for row, candidates in enumerate(active[name])
                for k in candidates
            ]
            return sum(rows) / 50

        def train(epochs: int, active: Mapping[str, Active] | None) -> None:
            assert discretization.needs_training

        kept = discretization(DECISIONS, mixtures, evaluate=evaluate, train=train)
        Architecture(kept).check(DECISIONS)
        for name in ("c", "own"):
            assert not any(edge.operation == "none" for edge in kept[name].edges)
        assert kept == pickle.loads(pickle.dumps(discretization))(DECISIONS, mixtures, evaluate=evaluate, train=train)
        for name, (values, active) in before.items():
            assert torch.equal(values, mixtures[name].values) and active == mixtures[name].active


@pytest.mark.parametrize("discretization", EVERY)
def test_discretizations_can_be_pickled_and_compared(discretization):
    assert pickle.loads(pickle.dumps(discretization)) == discretization
