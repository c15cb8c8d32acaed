"""Changes of one decision, runners-up and samples, in every kind of decision."""

from itertools import islice
from random import Random

import pytest
import torch

from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.cost.layout import items_of
from dnas.finalists.changes import Neighbourhood
from dnas.space import DartsSpace, NasBench201Space

CHOICE = {"op": Decision("op", "choice", ("a", "b", "c"))}
INPUTS = {"in": Decision("in", "inputs", ("x", "y", "z"), num_kept=2)}


def mixtures(**values: list[float]) -> dict[str, Mixture]:
    return {name: Mixture(torch.tensor(row, dtype=torch.float64)) for name, row in values.items()}


def test_a_choice_changes_to_every_other_candidate():
    changes = Neighbourhood(CHOICE).changes({"op": "b"})
    assert [change.kept for change in changes] == [{"op": "a"}, {"op": "c"}]
    assert {change.place for change in changes} == {"op"}


def test_an_input_choice_swaps_one_input():
    changes = Neighbourhood(INPUTS).changes({"in": ("x", "y")})
    assert [change.kept["in"] for change in changes] == [("y", "z"), ("x", "z")]


@pytest.mark.parametrize("space", [NasBench201Space(), DartsSpace(nodes=2)])
def test_changes_of_cells_are_architectures_of_the_space_that_differ_in_one_item(space):
    decisions = space.decisions()
    architecture = space.random(torch.Generator().manual_seed(0))
    own = set(items_of(architecture.decisions, decisions))
    changes = Neighbourhood(decisions).changes(architecture.decisions)
    for change in changes:
        space.check(space.architecture(change.kept))
        assert len(own - set(items_of(change.kept, decisions))) == 1
    assert len({space.architecture(change.kept).to_json() for change in changes}) == len(changes)


def test_nasbench201_has_24_neighbours():
    space = NasBench201Space()
    architecture = space.random(torch.Generator().manual_seed(0))
    assert len(Neighbourhood(space.decisions()).changes(architecture.decisions)) == 6 * 4


def test_runners_up_are_the_strongest_changes_those_that_lose_least_first():
    decisions = {**CHOICE, "other": Decision("other", "choice", ("p", "q"))}
    near = Neighbourhood(decisions, mixtures(op=[0.5, 0.3, 0.2], other=[0.52, 0.48]))
    found = near.runners_up({"op": "a", "other": "p"})
    assert [change.kept for change in found] == [{"op": "a", "other": "q"}, {"op": "b", "other": "p"}]
    assert [change.gain for change in found] == pytest.approx(torch.tensor([0.48 / 0.52, 0.3 / 0.5]).log().tolist())


def test_samples_follow_the_mixture():
    near = Neighbourhood(CHOICE, mixtures(op=[0.7, 0.2, 0.1]))
    drawn = [kept["op"] for kept in islice(near.samples(Random(0)), 2000)]
    # 5 standard deviations of a share over 2000 draws are at most 0.056.
    assert [drawn.count(name) / 2000 for name in "abc"] == pytest.approx([0.7, 0.2, 0.1], abs=0.056)


def test_a_candidate_that_the_search_has_ruled_out_is_not_sampled():
    near = Neighbourhood(CHOICE, {"op": Mixture(torch.tensor([0.0, 0.5, 0.5]), ((1, 2),))})
    assert {kept["op"] for kept in islice(near.samples(Random(0)), 50)} == {"b", "c"}
