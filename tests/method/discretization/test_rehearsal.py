"""What a discretization asks for in a rehearsal is what it asks for in a search."""

from collections.abc import Mapping
from random import Random

import pytest
import torch

from dnas.core.architecture import Kept
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
from dnas.method.discretization.base import Evaluate, Train
from dnas.method.discretization.rehearsal import MOST, Rehearsal, evenly, rehearse

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL = Decision("normal", "operations", ("none", "conv", "skip"), EDGES, 2, ("none",), (2, 3))
DECISIONS = {
    "act": Decision("act", "choice", ("relu", "tanh", "skip")),
    "from": Decision("from", "inputs", ("a", "b", "c"), num_kept=2),
    "normal": CELL,
    "normal.edges": Decision("normal.edges", "edges", tuple(map(str, EDGES)), EDGES),
}
# Cells: 2 * 2 operations into state 2, 3 pairs of edges with 2 * 2 into state 3.
SIZE = 3 * 3 * (2 * 2) * (3 * 2 * 2)


def asked(discretization: Discretization, seed: int) -> Rehearsal:
    """What it asks of a supernet with these accuracies and mixtures."""
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    evaluated: list[Mapping[str, Active]] = []
    trained: list[tuple[int, Mapping[str, Active]]] = []

    def evaluate(active: Mapping[str, Active]) -> float:
        evaluated.append(active)
        return random.choice((0.1, 0.5, 0.5, 0.9))

    def train(epochs: int, active: Mapping[str, Active] | None = None) -> None:
        trained.append((epochs, active or {}))

    mixtures = {name: Mixture(torch.rand(decision.shape, generator=generator)) for name, decision in DECISIONS.items()}
    discretization(DECISIONS, mixtures, evaluate=evaluate, train=train)
    return Rehearsal(evaluated, trained)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("discretization", "evaluations", "epochs"),
    [
        (Argmax(), 0, 0),
        (Threshold(), 0, 0),
        (LimitedSkips(candidate="skip"), 0, 0),
        (RandomSampling(samples=17), 17, 0),
        (RandomSampling(samples=1000), SIZE, 0),
        (Evolution(population=6, generations=4, parents=2), 24, 0),
        (Evolution(), SIZE, 0),
        # 3 operations of act, 5 edges with 2 each, 3 inputs of 'from' and 3 edges into state 3; 6 rounds.
        (Perturbation(epochs_between=3), 3 + 5 * 2 + 3 + 3, 3 * 5),
        (Perturbation(epochs_between=0), 19, 0),
    ],
)
def test_a_rehearsal_asks_as_often_as_a_search(discretization, evaluations, epochs, seed):
    found, real = rehearse(discretization, DECISIONS), asked(discretization, seed)
    assert (found.num_evaluations, found.num_epochs) == (evaluations, epochs)
    assert (real.num_evaluations, real.num_epochs) == (evaluations, epochs)


def test_less_and_less_of_the_supernet_takes_part_in_what_perturbation_asks_for():
    def parts(active: Mapping[str, Active]) -> int:
        return sum(len(row) for rows in active.values() for row in rows)

    found = rehearse(Perturbation(epochs_between=1), DECISIONS)
    trained = [parts(active) for _, active in found.trained]
    assert trained == sorted(trained, reverse=True)
    assert trained[0] > trained[-1]
    assert parts(found.evaluated[0]) > parts(found.evaluated[-1])


class Endless(Discretization):
    """Asks until the answer is one that there is not."""

    needs_training = True

    def __call__(
        self, decisions: Mapping[str, Decision], mixtures: Mapping[str, Mixture], *, evaluate: Evaluate, train: Train
    ) -> dict[str, Kept]:
        while evaluate({}) < 2:
            pass
        return {}


def test_what_does_not_end_is_counted_as_far_as_100000():
    assert rehearse(Endless(), DECISIONS).num_evaluations == MOST


@pytest.mark.parametrize(("length", "count"), [(1, 1), (3, 4), (4, 4), (5, 4), (17, 4), (100, 7), (0, 3)])
def test_samples_are_spread_over_the_whole(length: int, count: int):
    found = evenly(range(length), count)
    assert len(found) == min(length, count)
    assert found == sorted(set(found))
    assert set(found) <= set(range(length))
    if found:
        assert sum(found) / len(found) == pytest.approx((length - 1) / 2, abs=0.5)
