"""Clipping equals PyTorch's and can be differentiated."""

import pytest
import torch
from torch.testing import assert_close

from dnas.method.hypergradient import Tensors
from dnas.method.hypergradient.clip import clip


def example() -> Tensors:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 2), "b": (4,), "zero": (2,), "scalar": ()}
    tensors = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return tensors | {"zero": torch.zeros(2, dtype=torch.float64)}


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 100.0])
def test_clipping_equals_that_of_torch(max_norm: float):
    parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in example().items()}
    for name, p in parameters.items():
        p.grad = example()[name]
    torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    assert_close(clip(example(), max_norm), {name: p.grad for name, p in parameters.items()}, rtol=1e-14, atol=0)


def test_no_clipping_returns_the_gradients():
    gradients = example()
    assert clip(gradients, None) is gradients


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_its_derivative_is_that_of_the_formula(max_norm: float):
    nonzero = {name: tensor for name, tensor in example().items() if name != "zero"}
    flat = [tensor.requires_grad_() for tensor in nonzero.values()]
    assert torch.autograd.gradcheck(
        lambda *xs: tuple(clip(dict(zip(nonzero, xs, strict=True)), max_norm).values()), flat
    )


@pytest.mark.parametrize("names", [["a", "zero"], ["zero"]])
def test_gradients_of_zero_make_no_nan(names: list[str]):
    gradients = {name: example()[name].requires_grad_() for name in names}
    outputs = [tensor.sum() for tensor in clip(gradients, 0.5).values()]
    for derivative in torch.autograd.grad(outputs, list(gradients.values())):
        assert derivative.isfinite().all()
