"""Random architectures that are judged with shared weights."""

from collections import Counter
from collections.abc import Mapping

import pytest
import torch

from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization import RandomSampling

NAMES = ("none", "conv", "skip")
CELL = Decision("normal", "operations", NAMES, ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 2, ("none",), (2, 3))
SIZE = (2 * 2) * (3 * 2 * 2)


def run(samples: int, *, seed: int = 0, accuracy=lambda active: 0.5):
    """What is kept, and the architectures that were evaluated."""
    asked: list[Active] = []

    def evaluate(active: Mapping[str, Active]) -> float:
        asked.append(active["normal"])
        return accuracy(active["normal"])

    def train(epochs: int, active: Mapping[str, Active] | None) -> None:
        raise AssertionError("random sampling trains nothing")

    kept = RandomSampling(samples, seed)(
        {"normal": CELL}, {"normal": Mixture(torch.full((5, 3), 1 / 3))}, evaluate=evaluate, train=train
    )
    return kept["normal"], asked


def as_cell(rows: Active) -> CellArchitecture:
    edges = [KeptEdge(*edge, NAMES[k]) for edge, row in zip(CELL.edges, rows, strict=True) for k in row]
    return CellArchitecture(tuple(edges), (2, 3))


def worth(rows: Active) -> float:
    return sum((edge + 1) * k for edge, row in enumerate(rows) for k in row) / 100


def test_the_best_of_the_samples_is_kept():
    kept, asked = run(12, accuracy=worth)
    assert kept == as_cell(max(asked, key=worth))


def test_samples_are_different_architectures_with_the_inputs_and_operations_that_may_be_kept():
    _, asked = run(20)
    assert len(set(asked)) == 20
    for rows in asked:
        assert [len(row) for row in rows[:2]] == [1, 1]
        assert sorted(len(row) for row in rows[2:]) == [0, 1, 1]
        assert all(k != 0 for row in rows for k in row)


@pytest.mark.parametrize("samples", [SIZE, SIZE + 1, 10 * SIZE])
def test_a_space_of_no_more_architectures_is_evaluated_whole(samples):
    kept, asked = run(samples, accuracy=worth)
    assert len(asked) == len(set(asked)) == SIZE
    assert kept == as_cell(((2,), (2,), (), (2,), (2,)))
    assert asked == run(samples, seed=1)[1]  # nothing is drawn


def test_all_but_one_are_drawn_where_one_less_is_asked_for():
    _, asked = run(SIZE - 1)
    assert len(asked) == len(set(asked)) == SIZE - 1


def test_architectures_are_drawn_uniformly():
    first = Counter(run(1, seed=seed)[1][0] for seed in range(4000))
    assert len(first) == SIZE
    # Binomial with mean 4000 / 48 = 83.3 and standard deviation 9.0: all 48 lie within 4 of them but once in 300.
    assert all(83.3 - 36 < count < 83.3 + 36 for count in first.values())


def test_of_equals_the_first_one_is_kept():
    kept, asked = run(5)
    assert kept == as_cell(asked[0])


def test_what_is_drawn_follows_the_seed():
    assert run(5, seed=1)[1] == run(5, seed=1)[1] != run(5, seed=2)[1]


def test_fewer_samples_are_the_first_of_more():
    assert run(9, seed=4)[1][:5] == run(5, seed=4)[1]


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="samples must be at least 1; got 0"):
        RandomSampling(samples=0)
