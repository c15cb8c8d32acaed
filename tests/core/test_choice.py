"""Choices compute the weighted sum that their equation says, and no more than they must."""

import doctest

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import dnas.core.choice
from dnas.core.candidates import Zero
from dnas.core.choice import Choice, InputChoice, InputSum
from dnas.core.mixture import Mixture
from tests.support.choices import Counted, X, mixture


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.core.choice).failed == 0


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
