"""Choices compute the weighted sum that their equation says, and no more than they must."""

import copy
import doctest
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.core.choice
from dnas.core.architecture import CellArchitecture, KeptEdge
from dnas.core.candidates import SharedPrefix, Zero
from dnas.core.cell import Cell, PlainCell
from dnas.core.choice import Choice, InputChoice, InputSum
from dnas.core.mixture import Mixture

X = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)


class Counted(nn.Module):
    """factor * x, and how often it was called."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.factor * x


def mixture(*values: float | Sequence[float], active=None) -> Mixture:
    return Mixture(torch.tensor(values, dtype=torch.float64), active)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.core.choice).failed == 0


# Choice


def test_a_choice_is_the_weighted_sum_of_its_candidates():
    choice = Choice("op", {"double": Counted(2.0), "none": Zero(), "tanh": nn.Tanh()})
    choice.bind({"op": mixture(0.5, 0.2, 0.3)})
    assert_close(choice(X), 0.5 * 2 * X + 0.3 * X.tanh(), rtol=1e-15, atol=0)


def test_without_a_mixture_all_candidates_weigh_the_same():
    choice = Choice("op", {"double": Counted(2.0), "none": Zero(), "skip": nn.Identity()})
    assert_close(choice(X), X, rtol=1e-15, atol=0)
    choice.bind({"op": mixture(1.0, 0.0, 0.0)})
    choice.bind(None)
    assert_close(choice(X), X, rtol=1e-15, atol=0)


def test_a_choice_among_embeddings_takes_token_indices():
    choice = Choice("table", {"a": nn.Embedding(5, 3), "b": nn.Embedding(5, 3)})
    tokens = torch.tensor([0, 4])
    expected = (choice.candidates[0](tokens) + choice.candidates[1](tokens)) / 2
    assert_close(choice(tokens), expected)
    assert expected.abs().sum() > 0


def test_candidates_may_take_several_inputs():
    class Product(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a * b

    class First(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a

    choice = Choice("op", {"product": Product(), "first": First()})
    choice.bind({"op": mixture(0.25, 0.75)})
    assert_close(choice(X, 2 * X), 0.25 * 2 * X * X + 0.75 * X, rtol=1e-15, atol=0)


def test_only_active_candidates_are_computed():
    choice = Choice("op", {"a": Counted(1.0), "b": Counted(2.0), "c": Counted(3.0)})
    choice.bind({"op": mixture(0.0, 1.0, 0.0, active=((1,),))})
    assert_close(choice(X), 2 * X)
    assert [candidate.calls for candidate in choice.candidates] == [0, 1, 0]


def test_none_alone_gives_zeros_of_the_inputs_shape_and_no_gradient():
    choice = Choice("op", {"a": Counted(1.0), "none": Zero()})
    values = torch.tensor([0.0, 1.0], requires_grad=True)
    choice.bind({"op": Mixture(values, ((1,),))})
    assert_close(choice(X), torch.zeros_like(X))
    assert not choice(X).requires_grad


def test_the_gradient_of_a_mixture_entry_is_its_candidates_output():
    choice = Choice("op", {"double": Counted(2.0), "none": Zero(), "tanh": nn.Tanh()})
    values = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    choice.bind({"op": Mixture(values)})
    (gradient,) = torch.autograd.grad((choice(X) * X).sum(), values)
    assert_close(
        gradient, torch.stack([(2 * X * X).sum(), torch.zeros(()).double(), (X.tanh() * X).sum()]), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice("", {"a": nn.ReLU()}), "needs a name"),
        (lambda: Choice("op", {}), "needs one or more candidates of different names"),
        (lambda: Choice("op", {"a": nn.ReLU()}, excluded=["b"]), r"excludes \['b'\]: excluded must name candidates"),
        (lambda: Choice("op", {"a": nn.ReLU()}, excluded=["a"]), "leave one that may be kept"),
    ],
)
def test_a_choice_that_cannot_be_one_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_zero_strides_as_an_operation_would():
    x = torch.ones(1, 2, 5, 8)
    assert_close(Zero(2)(x), torch.zeros(1, 2, 3, 4))
    assert Zero()(x).shape == x.shape


# InputChoice


def test_an_input_choice_is_the_weighted_sum_of_its_inputs():
    choice = InputChoice("from", ["a", "b", "c"], num_chosen=2)
    assert_close(choice(X, 2 * X, 3 * X), 2 * X, rtol=1e-15, atol=1e-16)
    choice.bind({"from": mixture(0.1, 0.0, 0.9, active=((0, 2),))})
    assert_close(choice(X, torch.full_like(X, torch.nan), 3 * X), 2.8 * X, rtol=1e-15, atol=1e-16)


def test_what_is_left_of_an_input_choice_adds_the_kept_inputs_with_weight_1():
    plain = InputChoice("from", ["a", "b", "c"], num_chosen=2).plain(("a", "c"))
    assert isinstance(plain, InputSum)
    assert_close(plain(X, torch.full_like(X, torch.nan), 3 * X), 4 * X, rtol=1e-15, atol=0)


def test_an_input_choice_counts_its_inputs():
    with pytest.raises(ValueError, match="'from' chooses among 2 inputs, got 3"):
        InputChoice("from", ["a", "b"])(X, X, X)
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=f"cannot keep {wrong} of 2 inputs"):
            InputChoice("from", ["a", "b"], num_chosen=wrong)
    with pytest.raises(ValueError, match="different names"):
        InputChoice("from", ["a", "a"])


# Cell

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
