"""The supernet: alphas apart from weights, the loss as a pure function, a state that knows its space."""

import copy
import doctest
import io
from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.searching.supernet
from dnas.core.batch import Batch
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.choice import Choice
from dnas.core.decision import Decision
from dnas.core.mixture import Mixture
from dnas.method.relaxation import GumbelSoftmax, Sigmoid, Softmax, UniformPath
from dnas.searching.supernet import Supernet, active_mask, normalized_edges

NOW = torch.tensor(0.5)
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 1, 0])


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Choice("op", {"linear": nn.Linear(3, 3), "tanh": nn.Tanh(), "none": Zero()}),
        nn.BatchNorm1d(3),
        nn.Linear(3, 2),
    )


def same(x: dict, y: dict) -> None:
    assert_close(x, y, rtol=0, atol=0)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.searching.supernet).failed == 0


# Alphas


def test_alphas_are_not_parameters_of_the_model_so_neither_optimizer_can_hold_the_others():
    supernet = Supernet(classifier())
    parameters = {id(weight) for weight in supernet.model.parameters()}
    assert parameters == {id(weight) for weight in supernet.weights().values()}
    assert not parameters & {id(alpha) for alpha in supernet.alpha_parameters()}
    assert not any("alpha" in name for name in supernet.model.state_dict())


def test_alphas_start_small_and_follow_their_seed():
    model = Cell("c", [(0, 1)], [{str(k): nn.Identity() for k in range(4000)}], num_inputs=1, output=[1])
    first, again, other = (Supernet(model, seed=seed).alphas["c"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # 1e-3 N(0, 1): five standard errors of mean and standard deviation of 4000 draws.
    assert abs(first.mean().item()) < 5e-3 / 4000**0.5
    assert abs(first.std().item() - 1e-3) < 5e-3 / 8000**0.5


def test_making_a_supernet_leaves_the_global_random_state_alone():
    model, before = classifier(), torch.get_rng_state()
    Supernet(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_alphas_have_the_dtype_of_the_model_and_move_with_it():
    supernet = Supernet(classifier().double())
    assert supernet.alphas["op"].dtype == torch.float64
    assert supernet.to(dtype=torch.float32) is supernet
    assert {t.dtype for t in (*supernet.alpha_parameters(), *supernet.weights().values())} == {torch.float32}
    supernet.to("meta")
    assert all(t.is_meta and t.requires_grad for t in (*supernet.alpha_parameters(), *supernet.weights().values()))


def test_frozen_weights_are_none_of_the_weights_but_take_part():
    model = classifier()
    model[2].requires_grad_(False)
    supernet = Supernet(model)
    assert not {"2.weight", "2.bias"} & set(supernet.weights())
    supernet.loss(supernet.weights(), supernet.expected(Softmax(), NOW), Batch(X, Y))


# Mixtures


def test_a_sample_is_differentiable_in_the_alphas_and_the_expectation_is_not():
    supernet = Supernet(classifier())
    sampled, expected = (supernet.sample(Softmax(), NOW)["op"], supernet.expected(Softmax(), NOW)["op"])
    assert sampled.values.requires_grad
    assert not expected.values.requires_grad
    assert_close(sampled.values.detach(), expected.values)


def test_samples_follow_their_generator():
    supernet = Supernet(classifier())
    relaxation = GumbelSoftmax(hard=False)
    first, again, other = (
        supernet.sample(relaxation, NOW, torch.Generator().manual_seed(seed))["op"].values for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_candidates_that_are_not_allowed_weigh_nothing_and_have_no_gradient():
    supernet = Supernet(classifier())
    supernet.allowed["op"] = ((0, 2),)
    for relaxation in (
        Softmax(),
        Sigmoid(),
        GumbelSoftmax(hard=False),
        GumbelSoftmax(),
        GumbelSoftmax(compute_all=True),
    ):
        for seed in range(10):
            mixture = supernet.sample(relaxation, NOW, torch.Generator().manual_seed(seed))["op"]
            assert mixture.values[1] == 0
            assert mixture.active is not None
            assert 1 not in mixture.row(0)
            (gradient,) = torch.autograd.grad(
                (mixture.values * torch.tensor([1.0, 2.0, 3.0])).sum(), supernet.alphas["op"]
            )
            assert gradient.isfinite().all()
            assert gradient[1] == 0
    assert_close(supernet.expected(Softmax(), NOW)["op"].values.sum(), torch.tensor(1.0))
    assert supernet.expected(Softmax(), NOW)["op"].active == ((0, 2),)


def test_edge_weights_are_a_softmax_over_the_incoming_edges_of_each_node():
    edges = ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    decision = Decision("c.edges", "edges", tuple("abcde"), edges)
    alpha = torch.tensor([0.1, 0.9, -1.0, 0.0, 2.0])
    expected = torch.cat([alpha[:2].softmax(0), alpha[2:].softmax(0)])
    assert_close(normalized_edges(alpha, decision), expected)
    candidates = [{"linear": nn.Linear(3, 3)} for _ in edges]
    supernet = Supernet(Cell("c", edges, candidates, num_inputs=2, output=[3], edge_weights=True))
    supernet.alphas["c.edges"] = alpha.requires_grad_()
    # Relaxations are for operations: edges get the softmax whatever the relaxation.
    for relaxation in (Softmax(), Sigmoid(), GumbelSoftmax()):
        for mixtures in (supernet.sample(relaxation, NOW), supernet.expected(relaxation, NOW)):
            assert_close(mixtures["c.edges"].values.detach(), expected)
            assert mixtures["c.edges"].active is None


def test_the_active_mask_is_true_at_the_active_candidates():
    assert active_mask(((0, 2), (1,)), torch.zeros(2, 3)).tolist() == [[True, False, True], [False, True, False]]
    assert active_mask(((1,),), torch.zeros(2)).tolist() == [False, True]


def test_mixtures_are_unbound_after_the_block_also_after_an_error():
    supernet = Supernet(classifier().eval())
    uniform = supernet.model(X)
    mixtures = {"op": Mixture(torch.tensor([1.0, 0.0, 0.0]))}
    with supernet.bound(mixtures) as model:
        assert not torch.allclose(model(X), uniform)
    assert_close(supernet.model(X), uniform)
    with pytest.raises(ZeroDivisionError), supernet.bound(mixtures):
        raise ZeroDivisionError
    assert_close(supernet.model(X), uniform)


# Loss


def test_the_loss_is_the_criterion_on_the_models_outputs():
    supernet = Supernet(classifier())
    mixtures = supernet.expected(Softmax(), NOW)
    loss, aux = supernet.loss(supernet.weights(), mixtures, Batch(X, Y))
    with supernet.bound(mixtures) as model:
        outputs = model(X)
    assert_close(aux.outputs, outputs)
    assert_close(loss, nn.functional.cross_entropy(outputs, Y))
    assert (dict(aux.terms), aux.carry) == ({}, None)


def test_the_loss_is_a_function_of_the_weights_it_is_given_and_touches_none_of_its_own():
    supernet = Supernet(classifier())
    before = copy.deepcopy(supernet.model.state_dict())
    mixtures = supernet.expected(Softmax(), NOW)
    other = {name: (weight.detach() + 0.1).requires_grad_() for name, weight in supernet.weights().items()}
    loss, _ = supernet.loss(other, mixtures, Batch(X, Y))
    torch.autograd.grad(loss, list(other.values()))
    same(supernet.model.state_dict(), before)
    assert all(weight.grad is None for weight in supernet.model.parameters())

    moved = copy.deepcopy(supernet.model)
    with torch.no_grad():
        for weight in moved.parameters():
            weight += 0.1
    assert_close(loss, Supernet(moved).loss({}, mixtures, Batch(X, Y))[0])


def test_buffers_are_untouched_unless_they_are_to_be_updated():
    supernet = Supernet(classifier())
    mixtures = supernet.expected(Softmax(), NOW)
    before = {name: buffer.clone() for name, buffer in supernet.model.named_buffers()}
    supernet.loss(supernet.weights(), mixtures, Batch(X, Y))
    same(dict(supernet.model.named_buffers()), before)
    supernet.loss(supernet.weights(), mixtures, Batch(X, Y), update_buffers=True)
    reference = classifier()
    with Supernet(reference).bound(mixtures) as model:
        model(X)
    same(dict(supernet.model.named_buffers()), dict(reference.named_buffers()))
    assert supernet.model[1].num_batches_tracked == 1  # pyright: ignore[reportIndexIssue]


def test_buffers_and_weights_that_stand_in_two_places_are_replaced_in_both():
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(norm, Choice("op", {"skip": nn.Identity()}), norm, nn.Linear(3, 2))
    supernet = Supernet(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    doubled = {name: (2 * weight).detach() for name, weight in supernet.weights().items()}
    loss, _ = supernet.loss(doubled, {"op": Mixture(torch.ones(1))}, Batch(X, Y))
    same(dict(model.named_buffers()), before)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 2
    assert_close(loss, nn.functional.cross_entropy(model(X), Y))


class Sum(nn.Module):
    """Of two inputs, one through a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"relu": nn.ReLU(), "tanh": nn.Tanh()})

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.op(a) - b


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "inputs",
    [(X, 2 * X), [X, 2 * X], {"b": 2 * X, "a": X}, Pair(X, 2 * X)],
    ids=["tuple", "list", "dict", "namedtuple"],
)
def test_inputs_may_be_tuples_lists_and_dicts(inputs):
    supernet = Supernet(Sum(), nn.functional.mse_loss)
    loss, aux = supernet.loss({}, {"op": Mixture(torch.tensor([0.0, 1.0]))}, Batch(inputs, torch.zeros(4, 3)))
    assert_close(aux.outputs, X.tanh() - 2 * X)
    assert_close(loss, (X.tanh() - 2 * X).square().mean())


class Recurrent(nn.Module):
    """A state that adds up its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.op = Choice("op", {"skip": nn.Identity(), "tanh": nn.Tanh()})

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state + self.op(x)
        return 2 * state, state


def test_the_carry_is_the_models_last_argument_and_comes_back_apart_from_the_outputs():
    supernet = Supernet(Recurrent(), nn.functional.mse_loss)
    mixtures = {"op": Mixture(torch.tensor([0.0, 1.0]))}
    batch = Batch(X, torch.zeros(4, 3), carry=torch.zeros(4, 3))
    _, first = supernet.loss({}, mixtures, batch)
    _, second = supernet.loss({}, mixtures, batch._replace(carry=first.carry))
    assert_close(first.carry, X.tanh())
    assert_close(second.carry, 2 * X.tanh())
    assert_close(second.outputs, 4 * X.tanh())


# Criterion


def loss_with(criterion) -> tuple[Tensor, dict]:
    supernet = Supernet(Sum(), criterion)
    loss, aux = supernet.loss({}, {"op": Mixture(torch.tensor([0.0, 1.0]))}, Batch((X, X), X))
    return loss, dict(aux.terms)


def test_a_criterion_may_give_named_terms_which_are_added_up():
    loss, terms = loss_with(lambda outputs, targets: {"a": outputs.sum(), "b": 2 * targets.sum()})
    assert set(terms) == {"a", "b"}
    assert_close(loss, (X.tanh() - X).sum() + 2 * X.sum())
    assert_close(loss, sum(terms.values()))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda outputs, targets: outputs, r"scalar tensor or a dict of them; got a tensor of shape \(4, 3\)"),
        (lambda outputs, targets: 1.0, "got a float"),
        (lambda outputs, targets: {}, "got a dict"),
        (lambda outputs, targets: {"a": outputs.sum(), "b": outputs}, r"term 'b' must be a scalar.*shape \(4, 3\)"),
        (lambda outputs, targets: {"a": 1.0}, "term 'a' must be a scalar tensor; got a float"),
    ],
)
def test_a_criterion_that_gives_something_else_is_told(criterion, message):
    with pytest.raises(ValueError, match=message):
        loss_with(criterion)


# State


def test_a_state_there_and_back_through_a_safe_load_gives_the_same_supernet():
    supernet = Supernet(classifier(), seed=1)
    supernet.allowed["op"] = ((0, 2),)
    supernet.loss(supernet.weights(), supernet.expected(Softmax(), NOW), Batch(X, Y), update_buffers=True)
    file = io.BytesIO()
    torch.save(supernet.state_dict(), file)
    file.seek(0)
    other = Supernet(classifier(), seed=2)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.zero_()
    alpha = other.alphas["op"]
    other.load_state_dict(torch.load(file, weights_only=True))
    same(other.model.state_dict(), supernet.model.state_dict())
    same(other.alphas, supernet.alphas)
    assert other.allowed == supernet.allowed
    assert other.alphas["op"] is alpha  # in place: an optimizer still holds it
    assert alpha.requires_grad


def test_a_state_does_not_change_with_the_supernet_it_came_from():
    supernet = Supernet(classifier())
    state = supernet.state_dict()["alphas"]
    before = state["op"].clone()
    with torch.no_grad():
        supernet.alphas["op"] += 1
    assert torch.equal(state["op"], before)


def other_model(kind: str) -> nn.Module:
    model = classifier()
    if kind == "name":
        model[0] = Choice("other", {"linear": nn.Linear(3, 3), "tanh": nn.Tanh(), "none": Zero()})
    elif kind == "candidates":
        model[0] = Choice("op", {"linear": nn.Linear(3, 3), "relu": nn.ReLU(), "none": Zero()})
    elif kind == "width":
        model[2] = nn.Linear(3, 5)
    elif kind == "layer":
        model.append(nn.Linear(2, 2))
    return model


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("name", "another space: decisions.op is missing there and .*'linear', 'tanh', 'none'"),
        ("candidates", r"decisions\.op\.candidates\[1\] is 'relu' there and 'tanh' here"),
        ("width", r"model\.2\.weight is a tensor of shape \(5, 3\) there and a tensor of shape \(2, 3\) here"),
        ("layer", r"model\.3\.weight is a tensor of shape \(2, 2\) there and missing here"),
    ],
)
def test_a_state_of_another_space_names_the_first_difference_and_changes_nothing(kind, message):
    supernet = Supernet(classifier(), seed=1)
    before = copy.deepcopy(supernet.state_dict())
    with pytest.raises(ValueError, match=message):
        supernet.load_state_dict(Supernet(other_model(kind), seed=2).state_dict())
    assert_close(supernet.state_dict()["model"], before["model"], rtol=0, atol=0)
    assert_close(supernet.state_dict()["alphas"], before["alphas"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": None}, "'alphas' is missing or not a mapping"),
        ({"decisions": []}, "'decisions' is missing or not a mapping"),
        ({"alphas": {"op": torch.zeros(2)}}, r"alphas\.op is a tensor of shape \(2,\) there"),
        ({"alphas": {"op": [0.0, 0.0, 0.0]}}, r"alphas\.op is \[0\.0, 0\.0, 0\.0\] there"),
        ({"allowed": {"op": [[0, 3]]}}, r"allowed candidates of 'op', \[\[0, 3\]\], do not fit 1 rows of 3"),
        ({"allowed": {"op": [[0], [1]]}}, "do not fit 1 rows of 3 candidates"),
        ({"allowed": {"op": [[]]}}, "do not fit 1 rows of 3 candidates"),
        ({"allowed": {"more": [[0]]}}, "do not fit any decision"),
    ],
)
def test_a_damaged_state_is_told(change, message):
    supernet = Supernet(classifier())
    with pytest.raises(ValueError, match=message):
        supernet.load_state_dict({**supernet.state_dict(), **change})


# What cannot be searched


def test_a_model_without_a_choice_and_choices_that_differ_are_told():
    with pytest.raises(ValueError, match="Linear holds no choice"):
        Supernet(nn.Linear(2, 2))
    model = nn.Sequential(Choice("op", {"a": nn.ReLU()}), Choice("op", {"a": nn.ReLU(), "b": nn.Tanh()}))
    with pytest.raises(ValueError, match="Choices named 'op' differ in candidates"):
        Supernet(model)


@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax(hard=True), UniformPath(), Sigmoid()])
def test_an_edge_without_an_allowed_candidate_is_0_and_not_computed(relaxation):
    cell = Cell("cell", [(0, 1), (0, 2)], [{"a": nn.Identity(), "b": nn.Tanh()}] * 2, num_inputs=1, output=(1, 2))
    supernet = Supernet(cell.double(), nn.functional.mse_loss)
    supernet.alphas["cell"] = supernet.alphas["cell"].detach().double().requires_grad_()
    supernet.allowed = {"cell": ((), (0, 1))}
    for mixtures in (supernet.sample(relaxation, torch.tensor(0.5)), supernet.expected(relaxation, torch.tensor(0.5))):
        values, active = mixtures["cell"].values, mixtures["cell"].active
        assert values[0].tolist() == [0.0, 0.0]
        assert active is not None
        assert active[0] == ()
        assert values[1].sum() > 0
