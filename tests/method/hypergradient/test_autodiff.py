"""Gradients by name, with zeros where nothing depends."""

import pytest
import torch
from torch.testing import assert_close

from dnas.method.hypergradient.autodiff import add, dot, gradients, leaves, norm, pull_back


def test_unused_inputs_get_zeros_of_their_shape():
    a, b = leaves({"x": torch.ones(2)}), leaves({"y": torch.ones(3, 1)})
    by_a, by_b = gradients(a["x"].square().sum(), a, b)
    assert_close(by_a, {"x": torch.full((2,), 2.0)})
    assert_close(by_b, {"y": torch.zeros(3, 1)})


def test_a_loss_without_a_graph_has_zero_gradients():
    (found,) = gradients(torch.ones(()), leaves({"x": torch.ones(2)}))
    assert_close(found, {"x": torch.zeros(2)})


def test_outputs_without_a_graph_are_left_out_of_a_pull_back():
    inputs = leaves({"x": torch.ones(2)})
    (found,) = pull_back([(3 * inputs["x"], torch.tensor([1.0, 2.0])), (torch.ones(1), torch.ones(1))], inputs)
    assert_close(found, {"x": torch.tensor([3.0, 6.0])})


def test_no_inputs_give_no_gradients():
    assert gradients(torch.ones((), requires_grad=True) * 2, {}) == ({},)


def test_a_loss_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match=r"not \(1,\)"):
        gradients(torch.ones(1), {})


def test_leaves_share_memory_and_keep_the_gradient_of_the_original_alone():
    parameter = torch.nn.Parameter(torch.ones(2))
    leaf = leaves({"p": parameter})["p"]
    leaf.sum().backward()
    assert parameter.grad is None
    assert leaf.data_ptr() == parameter.data_ptr()


def test_sums_products_and_norms_run_over_all_entries():
    a, b = {"x": torch.tensor([3.0]), "y": torch.tensor([[4.0]])}, {"x": torch.ones(1), "y": torch.ones(1, 1)}
    assert norm(a) == 5
    assert dot(a, b) == 7
    assert_close(add(a, b, scale=2.0), {"x": torch.tensor([5.0]), "y": torch.tensor([[6.0]])})
