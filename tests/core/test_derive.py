"""The derived network is what the supernet was under the architecture's one-hot mixtures, without the losers."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.architecture import Architecture, CellArchitecture, KeptEdge
from dnas.core.batch import Batch
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.choice import Choice, InputChoice
from dnas.core.derive import derive, find_decisions
from dnas.core.mixture import Mixture
from dnas.core.searchable import Searchable
from dnas.searching.supernet import Supernet
from dnas.space import DartsSpace, NasBench201Space
from dnas.system.errors import UserError

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def agree(model: nn.Module, architecture: Architecture, *inputs: Tensor, tolerance: float = 1e-12) -> nn.Module:
    """See that one-hot supernet and derived network compute the same in train mode; returns the derived one."""
    supernet = Supernet(model)
    with supernet.bound(supernet.one_hot(architecture)):
        expected = model(*inputs)
    derived = derive(model, architecture)
    assert_close(derived(*inputs), expected, rtol=tolerance, atol=tolerance)
    return derived


def holds_no_search(module: nn.Module) -> bool:
    return not any(isinstance(part, Searchable) for part in module.modules())


class UserModel(nn.Module):
    """All three kinds of choice, two places of one decision, and layers around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Choice("act", {"relu": nn.ReLU(), "linear": nn.Linear(3, 3), "none": Zero()}, excluded=["none"])
        self.second = Choice("act", {"relu": nn.ReLU(), "linear": nn.Linear(3, 3), "none": Zero()}, excluded=["none"])
        self.inputs = InputChoice("from", ["x", "first", "second"], num_chosen=2)
        edges = ((0, 1), (0, 2), (1, 2))
        candidates = [{"none": Zero(), "linear": nn.Linear(3, 3), "skip": nn.Identity()} for _ in edges]
        self.cell = Cell("cell", edges, candidates, num_inputs=1, output=[1, 2], edge_weights=True)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(first)
        return self.norm(self.cell(self.inputs(x, first, second)))


USER = Architecture(
    {
        "act": "linear",
        "from": ("x", "second"),
        "cell": CellArchitecture((KeptEdge(0, 1, "linear"), KeptEdge(1, 2, "none"), KeptEdge(0, 2, "skip")), (1, 2)),
    }
)


def test_a_users_module_with_every_kind_of_choice():
    model = UserModel().double()
    derived = agree(model, USER, X)
    assert holds_no_search(derived)
    names = {name for name, _ in derived.named_parameters()}
    assert names == {"first.weight", "first.bias", "second.weight", "second.bias", "norm.weight", "norm.bias"} | {
        "cell.operations.0.weight",
        "cell.operations.0.bias",
    }


def test_the_searched_model_stays_as_it_is_and_shares_nothing_with_the_derived_one():
    model = UserModel().double()
    before = copy.deepcopy(model.state_dict())
    derived = derive(model, USER)
    for weight in derived.parameters():
        nn.init.zeros_(weight)
    assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert set(find_decisions(model)) == {"act", "from", "cell", "cell.edges"}


def test_the_derived_network_can_be_pickled_as_a_plain_module():
    derived = derive(UserModel().double().eval(), USER)
    assert_close(pickle.loads(pickle.dumps(derived))(X), derived(X))


def test_it_keeps_the_mode_that_the_model_had():
    assert not derive(UserModel().eval(), USER).training
    assert derive(UserModel(), USER).training


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "space", [DartsSpace(nodes=3), DartsSpace(nodes=2, edge_weights=True), NasBench201Space()], ids=str
)
def test_architectures_of_our_spaces_in_float64(space, seed):
    torch.manual_seed(seed)
    model = space.model(channels=2, cells=3, num_classes=4).double()
    images = torch.randn(3, 3, 9, 9, dtype=torch.float64)
    derived = agree(model, space.random(torch.Generator().manual_seed(seed)), images)
    assert holds_no_search(derived)
    assert len(list(derived.parameters())) < len(list(model.parameters()))


def test_weight_gradients_are_those_of_the_one_hot_supernet():
    model = UserModel().double()
    supernet = Supernet(model, nn.functional.mse_loss)
    batch = Batch(X, torch.ones(4, 6, dtype=torch.float64))
    loss, _ = supernet.loss(supernet.weights(), supernet.one_hot(USER), batch)
    derived = derive(model, USER)
    derived_loss = nn.functional.mse_loss(derived(X), batch.targets)
    for ours, theirs in [
        (model.first.candidates[1].weight, derived.first.weight),
        (model.norm.bias, derived.norm.bias),
    ]:
        assert_close(
            torch.autograd.grad(loss, ours, retain_graph=True),  # type: ignore[arg-type]
            torch.autograd.grad(derived_loss, theirs, retain_graph=True),  # type: ignore[arg-type]
            rtol=1e-12,
            atol=1e-13,
        )


# Nested choices


def nested() -> nn.Module:
    inner = Choice("inner", {"tanh": nn.Tanh(), "linear": nn.Linear(3, 3)})
    return nn.Sequential(
        Choice("outer", {"deep": nn.Sequential(nn.Linear(3, 3), inner), "skip": nn.Identity()}), nn.Linear(3, 2)
    ).double()


@pytest.mark.parametrize("outer", ["deep", "skip"])
@pytest.mark.parametrize("inner", ["tanh", "linear"])
def test_a_choice_inside_a_candidate_of_a_choice_is_derived_too(outer, inner):
    derived = agree(nested(), Architecture({"outer": outer, "inner": inner}), X)
    assert holds_no_search(derived)
    kinds = [type(module).__name__ for module in derived.modules() if not list(module.children())]
    assert kinds == {"skip": ["Identity"], "deep": ["Linear", "Tanh" if inner == "tanh" else "Linear"]}[outer] + [
        "Linear"
    ]


def test_both_nested_decisions_are_bound_in_a_search():
    model = nested()
    supernet = Supernet(model, nn.functional.mse_loss)
    assert set(supernet.alphas) == {"outer", "inner"}
    mixtures = {name: alpha.softmax(0) for name, alpha in supernet.alphas.items()}
    loss, _ = supernet.loss({}, {n: Mixture(m) for n, m in mixtures.items()}, Batch(X, torch.ones(4, 2).double()))
    linear, inner = model[0].candidates[0][0], model[0].candidates[0][1].candidates  # pyright: ignore
    state = linear(X)
    deep = mixtures["inner"][0] * state.tanh() + mixtures["inner"][1] * inner[1](state)
    expected = nn.functional.mse_loss(
        model[1](mixtures["outer"][0] * deep + mixtures["outer"][1] * X),
        torch.ones(4, 2).double(),  # pyright: ignore
    )
    assert_close(loss, expected, rtol=1e-14, atol=0)
    for found, wanted in zip(
        torch.autograd.grad(loss, supernet.alpha_parameters(), retain_graph=True),
        torch.autograd.grad(expected, supernet.alpha_parameters()),
        strict=True,
    ):
        assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_choice_itself_as_candidate_and_a_cell_inside_a_choice():
    edges = ((0, 1),)
    cell = Cell("cell", edges, [{"tanh": nn.Tanh(), "linear": nn.Linear(3, 3)}], num_inputs=1, output=[1])
    model = nn.Sequential(
        Choice("outer", {"inner": Choice("inner", {"a": nn.Linear(3, 3), "b": nn.ReLU()}), "cell": cell})
    ).double()
    kept = CellArchitecture((KeptEdge(0, 1, "linear"),), (1,))
    for outer in ("inner", "cell"):
        assert holds_no_search(agree(model, Architecture({"outer": outer, "inner": "a", "cell": kept}), X))


def test_the_model_may_be_a_choice_itself():
    model = Choice("op", {"tanh": nn.Tanh(), "linear": nn.Linear(3, 3).double()})
    assert isinstance(agree(model, Architecture({"op": "tanh"}), X), nn.Tanh)


# Modules in several places


class Shared(nn.Module):
    """One choice under two names, once inside another module."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Choice("op", {"linear": nn.Linear(3, 3), "tanh": nn.Tanh()})
        self.block = nn.Sequential(nn.ReLU(), self.one)
        self.again = self.block

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.block(self.one(x)))


def test_a_choice_registered_in_several_places_is_replaced_in_all_and_stays_shared():
    derived = agree(Shared().double(), Architecture({"op": "linear"}), X)
    assert isinstance(derived, Shared)
    assert holds_no_search(derived)
    assert derived.one is derived.block[1]
    assert derived.again is derived.block
    assert len(list(derived.parameters())) == 2


def test_a_cell_that_stands_in_two_places_stays_one_module():
    cell = Cell("c", ((0, 1),), [{"linear": nn.Linear(3, 3), "skip": nn.Identity()}], num_inputs=1, output=[1])
    kept = CellArchitecture((KeptEdge(0, 1, "linear"),), (1,))
    derived = agree(nn.Sequential(cell, nn.Tanh(), cell).double(), Architecture({"c": kept}), X)
    assert derived[0] is derived[2]  # pyright: ignore[reportIndexIssue]


def test_an_operation_kept_twice_on_one_edge_counts_twice():
    model = Cell(
        "c", ((0, 1),), [{"linear": nn.Linear(3, 3), "skip": nn.Identity()}], num_inputs=1, output=[1]
    ).double()
    kept = CellArchitecture((KeptEdge(0, 1, "linear"), KeptEdge(0, 1, "skip"), KeptEdge(0, 1, "linear")), (1,))
    derived = agree(model, Architecture({"c": kept}), X)
    assert_close(derived(X), 2 * model.operations[0][0](X) + X, rtol=1e-14, atol=0)  # pyright: ignore


# What does not fit


def test_a_model_without_choice_is_told():
    with pytest.raises(ValueError, match="Linear holds no choice, so there is nothing to derive"):
        derive(nn.Linear(2, 2), Architecture({}))
    with pytest.raises(ValueError, match="Linear holds no choice, so there is nothing to search"):
        find_decisions(nn.Linear(2, 2))


def test_two_choices_of_one_name_with_different_candidates_are_told():
    model = nn.Sequential(Choice("op", {"a": nn.ReLU()}), Choice("op", {"b": nn.ReLU()}))
    with pytest.raises(ValueError, match=r"Choices named 'op' differ in candidates: \('a',\) and \('b',\)"):
        find_decisions(model)


def test_an_architecture_of_another_model_is_told():
    with pytest.raises(ValueError, match="different spaces"):
        derive(UserModel(), Architecture({"act": "relu"}))
    with pytest.raises(ValueError, match="'act' has no candidate 'gelu'"):
        derive(UserModel(), Architecture({**USER.decisions, "act": "gelu"}))


def test_decisions_are_found_in_the_order_of_the_modules():
    assert list(find_decisions(UserModel())) == ["act", "from", "cell", "cell.edges"]


def test_what_is_kept_may_be_a_plain_mapping():
    model = nn.Sequential(Choice("op", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), InputChoice("in", ["a", "b"]))
    derived = derive(model, {"op": "tanh", "in": ["b"]})  # type: ignore[dict-item]
    assert isinstance(derived[0], nn.Tanh)
    with pytest.raises(UserError, match=r"derive takes an Architecture, .* or a mapping such as .*; got a int"):
        derive(model, 3)  # type: ignore[arg-type]
