"""Evolution over architectures that are judged with shared weights."""

from collections.abc import Mapping
from itertools import product

import pytest
import torch

from dnas.core.architecture import CellArchitecture, Kept, KeptEdge
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization import Evolution, RandomSampling

# Six choices of five: 15625 architectures, as in NAS-Bench-201.
CHOICES = {f"op{i}": Decision(f"op{i}", "choice", ("a", "b", "c", "d", "e")) for i in range(6)}
CELL = {
    "normal": Decision(
        "normal", "operations", ("none", "conv", "skip"), ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 1, ("none",), (2, 3)
    )
}
CELL_SIZE = (2 * 2) * (3 * 2)


class Table:
    """Accuracy is the sum of a number for each candidate that is active; it notes what it was asked."""

    def __init__(self, decisions: Mapping[str, Decision], seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        self.worth = {
            name: torch.rand(decision.num_rows, len(decision.candidates), generator=generator, dtype=torch.float64)
            for name, decision in decisions.items()
        }
        self.decisions = decisions
        self.asked: list[dict[str, Active]] = []

    def evaluate(self, active: Mapping[str, Active]) -> float:
        self.asked.append(dict(active))
        return self.accuracy(active)

    def accuracy(self, active: Mapping[str, Active]) -> float:
        return sum(
            self.worth[name][row, k].item() for name, rows in active.items() for row, ks in enumerate(rows) for k in ks
        )

    def train(self, epochs: int, active: Mapping[str, Active] | None) -> None:
        raise AssertionError("a one-shot supernet is not trained any more")

    def keep(self, discretization: Evolution | RandomSampling) -> dict[str, Kept]:
        mixtures = {name: Mixture(torch.full(decision.shape, 0.2)) for name, decision in self.decisions.items()}
        return discretization(self.decisions, mixtures, evaluate=self.evaluate, train=self.train)

    def best_choices(self) -> dict[str, Kept]:
        return {name: "abcde"[int(values.argmax())] for name, values in self.worth.items()}


def all_cells() -> list[dict[str, Active]]:
    """One input for each of the two nodes, with 'conv' or 'skip'."""
    found = []
    for first, k, second, m in product((0, 1), (1, 2), (2, 3, 4), (1, 2)):
        rows: list[tuple[int, ...]] = [()] * 5
        rows[first], rows[second] = (k,), (m,)
        found.append({"normal": tuple(rows)})
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_of_an_additive_table_is_found_with_a_fifth_of_all_evaluations(seed):
    table = Table(CHOICES, seed)
    discretization = Evolution(population=50, generations=20, seed=seed)
    assert table.keep(discretization) == table.best_choices()
    assert len(table.asked) == 1000


def test_it_finds_better_architectures_than_random_sampling_with_as_many_evaluations():
    margins = []
    for seed in range(8):
        table = Table(CHOICES, seed)
        table.keep(Evolution(population=20, generations=10, seed=seed))
        evolved, table.asked = max(map(table.accuracy, table.asked)), []
        table.keep(RandomSampling(samples=200, seed=seed))
        margins.append(evolved - max(map(table.accuracy, table.asked)))
    assert min(margins) > 0


@pytest.mark.parametrize("population", [2, 4, 5])
def test_as_many_are_evaluated_as_said_and_none_twice(population):
    table = Table(CHOICES)
    table.keep(Evolution(population=population, generations=7))
    assert len(table.asked) == 7 * population
    assert len({str(active) for active in table.asked}) == 7 * population


def test_a_space_that_the_generations_cover_is_evaluated_whole():
    for generations in (6, 12):  # 24 architectures with exactly as many evaluations, and with more
        table = Table(CELL)
        kept = table.keep(Evolution(population=4, generations=generations, parents=2))
        assert table.asked == all_cells()
        best = max(all_cells(), key=table.accuracy)["normal"]
        edges = [
            KeptEdge(*edge, ("none", "conv", "skip")[k])
            for edge, row in zip(CELL["normal"].edges, best, strict=True)
            for k in row
        ]
        assert kept == {"normal": CellArchitecture(tuple(edges), (2, 3))}


def test_with_one_evaluation_less_than_there_are_it_evolves():
    table = Table(CELL)
    table.keep(Evolution(population=CELL_SIZE - 1, generations=1))
    assert len({str(active) for active in table.asked}) == CELL_SIZE - 1
    assert all(active in all_cells() for active in table.asked)


def test_half_of_a_generation_are_mutants_of_the_best_and_half_are_crossings_of_them():
    population = 20
    table = Table(CHOICES)
    table.keep(Evolution(population=population, generations=2, parents=2, mutation_probability=0.2))
    first, mutants, crossings = (table.asked[slice(*ends)] for ends in ((0, 20), (20, 30), (30, 40)))
    parents = sorted(first, key=table.accuracy)[-2:]

    def distance(one: dict[str, Active], other: dict[str, Active]) -> int:
        return sum(one[name] != other[name] for name in CHOICES)

    assert all(active[name] in [parent[name] for parent in parents] for active in crossings for name in CHOICES)
    # A mutant differs from its parent in 6 * 0.2 * 0.8 of six places in the mean, a random architecture in 4.8.
    assert sum(min(distance(mutant, parent) for parent in parents) for mutant in mutants) < 2.5 * len(mutants)
    assert any(mutant[name] not in [parent[name] for parent in parents] for mutant in mutants for name in CHOICES)


def test_the_best_of_all_generations_have_children():
    # With one parent and no mutation there is nothing new but what is random, and the parent stays the best one.
    table = Table(CHOICES)
    kept = table.keep(Evolution(population=6, generations=3, parents=1, mutation_probability=0.0))
    best = max(table.asked, key=table.accuracy)
    assert kept == {name: "abcde"[rows[0][0]] for name, rows in best.items()}
    assert len(table.asked) == 18


def test_of_equals_the_first_one_is_kept():
    table = Table(CHOICES)
    table.worth = {name: torch.zeros_like(worth) for name, worth in table.worth.items()}
    kept = table.keep(Evolution(population=4, generations=3))
    assert kept == {name: "abcde"[rows[0][0]] for name, rows in table.asked[0].items()}


def test_what_is_drawn_follows_the_seed():
    def asked(seed: int) -> list[dict[str, Active]]:
        table = Table(CHOICES)
        table.keep(Evolution(population=4, generations=4, seed=seed))
        return table.asked

    assert asked(1) == asked(1) != asked(2)


def test_an_interruption_is_passed_on():
    table = Table(CHOICES)

    def interrupted(active: Mapping[str, Active]) -> float:
        raise KeyboardInterrupt

    table.evaluate = interrupted
    with pytest.raises(KeyboardInterrupt):
        table.keep(Evolution())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 1}, "population must be at least 2; got 1"),
        ({"generations": 0}, "generations must be at least 1; got 0"),
        ({"parents": 0}, "parents must be at least 1; got 0"),
        ({"mutation_probability": 1.5}, r"mutation_probability must lie in \[0, 1\]; got 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Evolution(**arguments)
