"""Cells follow their equation, and compute no more than they must."""

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.core.candidates import SharedPrefix, Zero
from dnas.core.cell import Cell, PlainCell
from dnas.core.choice import Choice, InputChoice
from dnas.core.mixture import Mixture
from tests.support.choices import Counted, X, mixture

EDGES = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def cell(*, edge_weights: bool = False, output: Sequence[int] = (2, 3)) -> Cell:
    """On edge e: the candidates (e + 1) x, none, and tanh."""
    candidates = [{"scale": Counted(e + 1.0), "none": Zero(), "tanh": nn.Tanh()} for e in range(len(EDGES))]
    return Cell("c", EDGES, candidates, num_inputs=2, output=output, edge_weights=edge_weights)


def by_equation(m: Tensor, beta: Tensor, s0: Tensor, s1: Tensor) -> Tensor:
    """state j = sum over edges (i, j) of beta_e sum_k m_ek op_k(state i); the nodes side by side."""
    states = {0: s0, 1: s1, 2: torch.zeros_like(s0), 3: torch.zeros_like(s0)}
    for e, (i, j) in enumerate(EDGES):
        states[j] = states[j] + beta[e] * (m[e, 0] * (e + 1) * states[i] + m[e, 2] * states[i].tanh())
    return torch.cat([states[2], states[3]], dim=1)


def random_mixture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_cell_follows_its_equation_in_value_and_gradient():
    m = random_mixture(5, 3).requires_grad_()
    module = cell()
    module.bind({"c": Mixture(m)})
    expected = by_equation(m, torch.ones(5), X, 2 * X)
    assert_close(module(X, 2 * X), expected, rtol=1e-14, atol=1e-15)
    gradients = [torch.autograd.grad((y**2).sum(), m)[0] for y in (module(X, 2 * X), expected)]
    assert_close(*gradients, rtol=1e-13, atol=1e-14)


def test_edge_weights_multiply_each_edge():
    m, beta = random_mixture(5, 3).requires_grad_(), random_mixture(5, seed=1).requires_grad_()
    module = cell(edge_weights=True)
    assert [decision.name for decision in module.decisions()] == ["c", "c.edges"]
    module.bind({"c": Mixture(m), "c.edges": Mixture(beta)})
    expected = by_equation(m, beta, X, 2 * X)
    assert_close(module(X, 2 * X), expected, rtol=1e-14, atol=1e-15)
    found, wanted = (torch.autograd.grad((y**2).sum(), (m, beta)) for y in (module(X, 2 * X), expected))
    assert_close(found, wanted, rtol=1e-13, atol=1e-14)


def test_without_a_mixture_a_cell_weighs_all_candidates_the_same():
    module = cell()
    module.bind({"c": Mixture(random_mixture(5, 3))})
    module.bind(None)
    expected = by_equation(torch.full((5, 3), 1 / 3, dtype=torch.float64), torch.ones(5), X, X)
    assert_close(module(X, X), expected, rtol=1e-14, atol=1e-15)


def test_a_single_output_state_is_returned_as_it_is():
    module = cell(output=[3])
    m = random_mixture(5, 3)
    module.bind({"c": Mixture(m)})
    assert_close(module(X, X), by_equation(m, torch.ones(5), X, X)[:, 3:], rtol=1e-14, atol=1e-15)


def test_a_cell_computes_only_what_is_active_and_a_node_of_nones_is_0():
    module = cell()
    values = torch.zeros(5, 3, dtype=torch.float64)
    values[[0, 1, 2, 3, 4], [1, 1, 0, 1, 1]] = 1
    module.bind({"c": Mixture(values, ((1,), (1,), (0,), (1,), (1,)))})
    assert_close(module(X, X), torch.cat([torch.zeros_like(X), 3 * X], dim=1), rtol=1e-15, atol=0)
    assert [edge[0].calls for edge in module.operations] == [0, 0, 1, 0, 0]  # pyright: ignore


def test_a_dropped_edge_takes_no_part_and_a_node_that_lost_all_is_0():
    module = cell()
    module.bind({"c": Mixture(torch.ones(5, 3, dtype=torch.float64), ((), (), (0,), (), ()))})
    assert_close(module(X, X), torch.cat([torch.zeros_like(X), 3 * X], dim=1), rtol=1e-15, atol=0)


class Halved(SharedPrefix):
    """factor * (x / 2); counts how often the half was computed."""

    count = 0

    def __init__(self, factor: float, key: str):
        super().__init__()
        self.factor, self.prefix_key = factor, key

    def prefix(self, x: Tensor) -> Tensor:
        Halved.count += 1
        return x / 2

    def rest(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_a_shared_prefix_is_computed_once_for_each_state_and_key():
    edges = ((0, 1), (0, 2), (1, 2))
    candidates = [{"a": Halved(1.0, "x"), "b": Halved(2.0, "x"), "c": Halved(3.0, "y")} for _ in edges]
    module = Cell("c", edges, candidates, num_inputs=1, output=[2])
    Halved.count = 0
    found = module(X)
    assert Halved.count == 4  # two states with edges, two keys
    assert_close(found, X + X, rtol=1e-14, atol=1e-15)  # every edge: (1 + 2 + 3) / 3 / 2 = 1


def test_the_plain_cell_runs_the_kept_edges_only_and_shares_their_modules():
    module = cell()
    kept = (KeptEdge(1, 2, "tanh"), KeptEdge(0, 2, "scale"), KeptEdge(2, 3, "scale"), KeptEdge(0, 3, "none"))
    plain = module.plain(CellArchitecture(kept, (2, 3)))
    assert isinstance(plain, PlainCell)
    state = X.tanh() + 1 * X
    assert_close(plain(X, X), torch.cat([state, 5 * state], dim=1), rtol=1e-15, atol=0)
    assert plain.operations[2] is module.operations[4][0]  # pyright: ignore


def test_edges_may_have_candidates_of_their_own():
    first, others = {"double": Counted(2.0), "tanh": nn.Tanh()}, {"none": Zero(), "triple": Counted(3.0)}
    edges = [(0, 1), (0, 2), (1, 2)]
    module = Cell("c", edges, [first, others, others], num_inputs=1, output=[2], excluded=["none"], own_candidates=True)
    assert module.decision.candidates == ("#0", "#1")
    assert module.decision.on_edges == (("double", "tanh"), ("none", "triple"), ("none", "triple"))
    module.bind({"c": mixture([0.5, 0.25], [0.0, 0.1], [0.0, 0.2])})
    state = 0.5 * 2 * X + 0.25 * X.tanh()
    assert_close(module(X), 0.1 * 3 * X + 0.2 * 3 * state, rtol=1e-15, atol=0)
    kept = (KeptEdge(0, 1, "tanh"), KeptEdge(0, 2, "triple"), KeptEdge(1, 2, "none"))
    assert_close(module.plain(CellArchitecture(kept, (2,)))(X), 3 * X, rtol=1e-15, atol=0)


def test_candidates_of_their_own_that_are_the_same_are_those_of_all_edges():
    module = Cell("c", [(0, 1), (0, 2)], on_edges(2), num_inputs=1, output=[2], own_candidates=True)
    assert (module.decision.candidates, module.decision.on_edges) == (("a",), ())


@pytest.mark.parametrize(
    ("candidates", "excluded", "message"),
    [
        (
            [{"a": nn.ReLU()}, {"b": nn.ReLU(), "c": nn.ReLU()}],
            [],
            r"equally many candidates on all edges; got \[1, 2\]",
        ),
        ([{"a": nn.ReLU()}, {"b": nn.ReLU()}], ["b"], "leave one that may be kept"),
        ([{"a": nn.ReLU()}, {"b": nn.ReLU()}], ["d"], r"excludes \['d'\]"),
    ],
)
def test_edges_need_equally_many_candidates_of_their_own_and_one_that_may_be_kept(candidates, excluded, message):
    with pytest.raises(ValueError, match=message):
        Cell("c", [(0, 1), (0, 2)], candidates, num_inputs=1, output=[2], own_candidates=True, excluded=excluded)


def on_edges(number: int) -> list[dict[str, nn.Module]]:
    return [{"a": nn.Identity()} for _ in range(number)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cell("c", [], [], num_inputs=1, output=[1]), "'c' needs one or more edges"),
        (lambda: Cell("c", [(0, 1)], on_edges(1), num_inputs=1, output=[1], num_kept=0), "keeps one or more per node"),
        (
            lambda: Cell("c", [(0, 1)], on_edges(2), num_inputs=1, output=[1]),
            r"candidates \['a'\] on each of its 1 edges",
        ),
        (
            lambda: Cell("c", [(0, 1), (0, 2)], [{"a": nn.ReLU()}, {"b": nn.ReLU()}], num_inputs=1, output=[2]),
            r"needs the candidates \['a'\] on each",
        ),
        (lambda: Cell("c", [(1, 1)], on_edges(1), num_inputs=1, output=[1]), "must go upward, each once, sorted"),
        (lambda: Cell("c", [(-1, 1)], on_edges(1), num_inputs=1, output=[1]), "must go upward, each once, sorted"),
        (lambda: Cell("c", [(0, 2), (0, 1)], on_edges(2), num_inputs=1, output=[1]), "sorted by target"),
        (lambda: Cell("c", [(0, 1), (0, 1)], on_edges(2), num_inputs=1, output=[1]), "each once"),
        (lambda: Cell("c", [(0, 2)], on_edges(1), num_inputs=1, output=[2]), r"nodes without an edge: \[1\]"),
        (lambda: Cell("c", [(0, 1)], on_edges(1), num_inputs=2, output=[1]), "states 0 to 1 are inputs"),
        (lambda: Cell("c", [(0, 1)], on_edges(1), num_inputs=1, output=[2]), "output must name states from 0 to 1"),
        (lambda: Cell("c", [(0, 1)], on_edges(1), num_inputs=1, output=[]), "output must name states"),
    ],
)
def test_a_cell_that_cannot_be_one_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "module", [Choice("op", {"a": nn.Tanh(), "none": Zero()}), InputChoice("from", ["a"]), cell(edge_weights=True)]
)
def test_searchable_modules_can_be_copied_and_pickled(module):
    inputs = (X, X) if isinstance(module, Cell) else (X,)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert copied.decisions() == module.decisions()
        assert_close(copied(*inputs), module(*inputs))


def test_modules_print_what_they_decide():
    found = cell()
    assert repr(found).startswith(
        "Cell(\n  'c', edges=[(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], candidates=['scale', 'none', 'tanh']"
    )
    kept = CellArchitecture((KeptEdge(0, 2, "tanh"), KeptEdge(2, 3, "scale")), (2, 3))
    assert repr(found.plain(kept)).startswith("PlainCell(\n  edges=[(0, 2), (2, 3)], output=[2, 3]")
    assert repr(Choice("d", {"a": nn.Tanh(), "b": nn.ReLU()})).startswith("Choice(\n  'd', candidates=['a', 'b']")
