"""A module can be called with other tensors, and has its own afterwards."""

import copy
import doctest

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.core.functional
from dnas.core.functional import call_with, prefixes

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.core.functional).failed == 0


class TwoPlaces(nn.Module):
    """One layer under two names, and another layer whose weight is the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.same = self.layer
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.layer.weight
        self.norm = nn.BatchNorm1d(3)
        self.norms = nn.Sequential(self.norm)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.tied(self.norms(self.norm(self.same(self.layer(x)))))


def test_the_given_tensors_stand_in_every_place():
    torch.manual_seed(0)
    model, other = TwoPlaces(), TwoPlaces()
    assert set(dict(model.named_parameters())) == {"layer.weight", "layer.bias", "norm.weight", "norm.bias"}
    tensors = {name: weight.detach() for name, weight in other.named_parameters()}
    assert_close(call_with(model, tensors, (X,), {"scale": 2.0}), other(X, scale=2.0))


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_module_has_its_own_tensors_again_also_after_an_error(fails):
    model = TwoPlaces()
    own = dict((*model.named_parameters(), *model.named_buffers()))
    values = {name: tensor.detach().clone() for name, tensor in own.items()}
    tensors = {name: tensor.detach().clone() + 1 for name, tensor in own.items()}
    if fails:
        with pytest.raises(RuntimeError):
            call_with(model, tensors, (X[:, :2],), {})
    else:
        call_with(model, tensors, (X,), {})
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor is own[name]
        assert torch.equal(tensor, values[name])
    assert model.tied.weight is model.layer.weight


def test_gradients_reach_the_given_tensors_from_every_place():
    model = TwoPlaces().eval()
    weight = model.layer.weight.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(call_with(model, {"layer.weight": weight}, (X,), {}).sum(), weight)
    (expected,) = torch.autograd.grad(model(X).sum(), model.layer.weight)
    assert_close(found, expected)
    assert found.abs().sum() > 0


def test_a_name_that_is_none_of_the_module_is_an_error():
    with pytest.raises(KeyError, match="wieght"):
        call_with(nn.Linear(3, 3), {"wieght": torch.zeros(3, 3)}, (X,), {})


def test_with_copies_of_the_buffers_a_call_changes_none():
    model = TwoPlaces()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert_close(call_with(model, {}, (X,), {}, copy_buffers=True), copy.deepcopy(model)(X))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert list(prefixes(model)) == list(model.modules())
