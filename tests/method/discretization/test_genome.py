"""Architectures as genes: how many there are, and what they make active."""

from collections.abc import Mapping
from itertools import product
from random import Random

import pytest
import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture, CellArchitecture
from dnas.core.batch import Batch
from dnas.core.cell import Cell
from dnas.core.choice import Choice, InputChoice
from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization.genome import Gene, Genome, Site, active, crossed, is_whole, kept, sites, size
from dnas.method.relaxation import Softmax
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space

SITE = Site("c", (3, 4, 5), ((0, 1), (2,), (0, 1, 2)), 2)


def mixtures_of(decisions: Mapping[str, Decision], active: Mapping[str, Active] | None = None) -> dict[str, Mixture]:
    return {
        name: Mixture(torch.full(decision.shape, 0.5), (active or {}).get(name)) for name, decision in decisions.items()
    }


def random_genome(places: list[Site], random: Random) -> Genome:
    return tuple(site.random(random) for site in places)


@pytest.mark.parametrize("space", [DartsSpace(), NasBench201Space()])
def test_there_are_as_many_architectures_as_the_space_says(space):
    decisions = space.decisions()
    assert size(sites(decisions, mixtures_of(decisions))) == space.size()


def test_the_ways_of_a_site_are_counted_and_listed():
    ways = list(SITE.all())
    assert len(ways) == len(set(ways)) == SITE.size() == 2 * 1 + 2 * 3 + 1 * 3


def test_a_gene_drawn_is_one_of_them_apart_from_what_it_does_not_keep():
    def expressed(gene: Gene) -> tuple[tuple[int, int], ...]:
        return tuple((i, gene.candidates[i]) for i in gene.kept)

    random = Random(0)
    assert {expressed(SITE.random(random)) for _ in range(500)} == {expressed(gene) for gene in SITE.all()}


def test_a_mutation_draws_each_part_anew_with_its_probability():
    gene, random = SITE.random(Random(0)), Random(1)
    assert SITE.mutated(gene, 0.0, random) == gene
    many = Site("c", tuple(range(2000)), (tuple(range(1000)),) * 2000, 2000)
    start = many.random(random)
    changed = sum(a != b for a, b in zip(start.candidates, many.mutated(start, 0.1, random).candidates, strict=True))
    assert 150 < changed < 250  # 2000 * 0.1 * 0.999 with standard deviation 13.4
    subsets = [SITE.mutated(Gene((0, 1), (0, 2, 0)), 0.5, random).kept for _ in range(3000)]
    # Drawn anew in half of the cases, and then another one in two of three.
    assert 900 < sum(kept != (0, 1) for kept in subsets) < 1100


def test_a_child_has_each_part_from_one_of_its_parents():
    first, second, random = Gene((0, 1), (0, 0, 0)), Gene((1, 2), (1, 1, 1)), Random(0)
    children = {crossed(first, second, random) for _ in range(300)}
    assert children == {Gene(kept, bits) for kept, bits in product(((0, 1), (1, 2)), product((0, 1), repeat=3))}
    assert crossed(first, first, random) == first


def test_what_may_not_be_kept_or_was_ruled_out_is_no_option():
    decisions = {
        "op": Decision("op", "choice", ("none", "a", "b"), excluded=("none",)),
        "from": Decision("from", "inputs", ("x", "y", "z"), num_kept=2),
        "c": Decision("c", "operations", ("none", "a", "b"), ((0, 1), (0, 2), (1, 2)), 1, ("none",), (2,)),
        "c.edges": Decision("c.edges", "edges", ("0->1", "0->2", "1->2"), ((0, 1), (0, 2), (1, 2))),
    }
    found = sites(decisions, mixtures_of(decisions, {"from": ((0, 2),), "c": ((0, 1), (0, 1, 2), (2,))}))
    assert found == [
        Site("op", (0,), ((1, 2),), 1),
        Site("from", (0, 2), ((0,), (2,)), 2),
        Site("c", (0,), ((1,),), 1),
        Site("c", (1, 2), ((1, 2), (2,)), 1),
    ]


def test_candidates_are_named_as_on_their_edge():
    decision = Decision(
        "c", "operations", ("0", "1"), ((0, 1), (0, 2)), None, ("none",), (1, 2), (("none", "a"), ("b", "c"))
    )
    (first, second) = sites({"c": decision}, mixtures_of({"c": decision}))
    assert (first.options, second.options) == (((1,),), ((0, 1),))
    cell = kept({"c": ((1,), (0,))}, {"c": decision})["c"]
    assert cell == CellArchitecture(((0, 1, "a"), (0, 2, "b")), (1, 2))  # type: ignore[arg-type]


class Model(nn.Module):
    """One decision of each kind, on vectors."""

    def __init__(self):
        super().__init__()
        self.op = Choice("op", {"relu": nn.ReLU(), "tanh": nn.Tanh(), "linear": nn.Linear(4, 4)})
        self.cell = Cell(
            "c",
            ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)),
            [{"relu": nn.ReLU(), "linear": nn.Linear(4, 4)} for _ in range(5)],
            num_inputs=2,
            output=(2, 3),
            num_kept=1,
        )
        self.inputs = InputChoice("from", ("x", "y", "z"), num_chosen=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.op(x)
        return self.head(self.cell(y, self.inputs(x, y, x * y)))


def test_a_supernet_with_only_an_architecture_active_computes_that_architecture():
    torch.manual_seed(0)
    supernet = Supernet(Model()).to(dtype=torch.float64)
    batch = Batch(torch.randn(6, 4, dtype=torch.float64), torch.randint(0, 3, (6,)))
    places, random = sites(supernet.decisions, mixtures_of(supernet.decisions)), Random(0)
    losses = set()
    for _ in range(10):
        rows = active(random_genome(places, random), places, supernet.decisions)
        architecture = Architecture(kept(rows, supernet.decisions))
        supernet.allowed = rows
        expected = supernet.expected(Softmax(), torch.tensor(0.0))
        loss, _ = supernet.loss(supernet.weights(), expected, batch)
        wanted, _ = supernet.loss(supernet.weights(), supernet.one_hot(architecture), batch)
        torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=0)
        losses.add(loss.item())
    assert len(losses) > 5


@pytest.mark.parametrize("seed", range(3))
def test_what_a_genome_makes_active_is_a_whole_architecture(seed: int):
    decisions = DartsSpace(edge_weights=True).decisions()
    places = sites(decisions, mixtures_of(decisions))
    found = active(random_genome(places, Random(seed)), places, decisions)
    assert is_whole(found, decisions)
    Architecture(kept(found, decisions)).check(decisions)


CELL = Decision("cell", "operations", ("a", "b"), ((0, 2), (1, 2), (0, 3), (1, 3)), 1, output=(3,))
ONE_OF_EACH: Active = ((0,), (), (), (1,))


@pytest.mark.parametrize(
    ("rows", "whole"),
    [
        (ONE_OF_EACH, True),
        (((0, 1), (), (), (1,)), False),  # two candidates
        (((0,), (1,), (), (1,)), False),  # two edges
        (((0,), (), (), ()), False),  # none into a node
    ],
)
def test_a_cell_is_whole_with_as_many_edges_as_it_keeps_and_one_candidate_on_each(rows: Active, whole: bool):
    assert is_whole({"cell": rows}, {"cell": CELL}) == whole


def test_all_decisions_must_be_decided_but_those_of_edges():
    act, inputs = Decision("act", "choice", ("a", "b")), Decision("from", "inputs", ("x", "y", "z"), num_kept=2)
    edges = Decision("cell.edges", "edges", ("0->2", "1->2", "0->3", "1->3"), CELL.edges)
    decisions = {one.name: one for one in (act, inputs, CELL, edges)}
    found: dict[str, Active] = {"act": ((1,),), "from": ((0, 2),), "cell": ONE_OF_EACH}
    assert is_whole(found, decisions)
    assert not is_whole({**found, "act": ((0, 1),)}, decisions)
    assert not is_whole({**found, "from": ((0,),)}, decisions)
    assert not is_whole({name: rows for name, rows in found.items() if name != "act"}, decisions)
