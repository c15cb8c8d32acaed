"""Mixed products: exact, by finite difference, and where the latter is refused or zero."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.method.hypergradient import ExactProduct, FiniteDifference, MixedProduct, Tensors
from dnas.testing import QuadraticProblem


def smooth_loss(weights: Tensors, outer: Tensors) -> Tensor:
    return ((weights["a"] @ outer["m"]).tanh() * weights["b"]).sum()


def example(dtype: torch.dtype = torch.float64) -> tuple[Tensors, Tensors, Tensors]:
    """Weights, outer variables and a vector like the weights."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return {"a": normal(3, 2), "b": normal(3)}, {"m": normal(2)}, {"a": normal(3, 2), "b": normal(3)}


@pytest.mark.parametrize("mixed", [ExactProduct(), FiniteDifference()], ids=str)
def test_on_quadratics_both_are_b_transposed_v(mixed: MixedProduct):
    problem = QuadraticProblem.random()
    weights, outer = problem.point()
    v, _ = problem.point(seed=1)
    _, product = mixed.linearize(lambda w, m: problem.train(w, m, 0), weights, outer)
    expected = problem.B.T @ torch.cat([v["matrix"].flatten(), v["vector"]])
    assert_close(torch.cat([tensor.flatten() for tensor in product(v).values()]), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mixed", [ExactProduct(), FiniteDifference(1e-4)], ids=str)
def test_both_are_the_derivative_of_the_inner_product_with_v(mixed: MixedProduct):
    weights, outer, v = example()
    gradient, product = mixed.linearize(smooth_loss, weights, outer)
    w = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    m = outer["m"].clone().requires_grad_()
    g = torch.autograd.grad(smooth_loss(w, {"m": m}), list(w.values()), create_graph=True)
    inner_product = sum((x * v[name]).sum() for name, x in zip(w, g, strict=True))
    (expected,) = torch.autograd.grad(inner_product, m)
    assert_close(gradient, dict(zip(w, g, strict=True)), rtol=1e-14, atol=0)
    assert not any(tensor.requires_grad for tensor in gradient.values())
    assert_close(product(v)["m"], expected, rtol=1e-7, atol=1e-9)


def test_the_finite_difference_follows_equation_8_of_darts():
    weights, outer, v = example()
    _, product = FiniteDifference(radius=0.1).linearize(smooth_loss, weights, outer)
    eps = 0.1 / torch.cat([tensor.flatten() for tensor in v.values()]).norm()
    gradients = []
    for sign in (1, -1):
        m = outer["m"].clone().requires_grad_()
        moved = {name: weight + sign * eps * v[name] for name, weight in weights.items()}
        gradients += torch.autograd.grad(smooth_loss(moved, {"m": m}), m)
    assert_close(product(v)["m"], (gradients[0] - gradients[1]) / (2 * eps), rtol=1e-13, atol=1e-13)


def test_a_vector_of_zeros_gives_zeros():
    weights, outer, v = example()
    _, product = FiniteDifference().linearize(smooth_loss, weights, outer)
    assert not product({name: torch.zeros_like(tensor) for name, tensor in v.items()})["m"].any()


def test_a_vector_of_zeros_gives_zeros_also_where_a_loss_is_not_bitwise_deterministic():
    """As on GPUs, where sums run in any order; and no pass is made at weights that are not finite."""
    weights, outer, v = example()
    losses: list[Tensor] = []

    def noisy_loss(weights: Tensors, outer: Tensors) -> Tensor:
        losses.append(smooth_loss(weights, outer) + len(losses) * outer["m"].sum())
        return losses[-1]

    _, product = FiniteDifference().linearize(noisy_loss, weights, outer)
    assert not product({name: torch.zeros_like(tensor) for name, tensor in v.items()})["m"].any()
    assert all(loss.isfinite() for loss in losses)


def test_a_vector_that_is_not_finite_is_not_hidden():
    weights, outer, v = example()
    _, product = FiniteDifference().linearize(smooth_loss, weights, outer)
    assert product({name: tensor * float("nan") for name, tensor in v.items()})["m"].isnan().all()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_length_of_v_does_not_matter_in_float32(scale: float):
    weights, outer, v = example(torch.float32)
    _, product = FiniteDifference().linearize(smooth_loss, weights, outer)
    expected = product(v)["m"]
    assert_close(product({name: scale * x for name, x in v.items()})["m"], scale * expected, rtol=1e-2, atol=0)


def test_the_finite_difference_is_computed_in_float32_under_autocast():
    weights, outer, v = example(torch.float32)
    _, product = FiniteDifference().linearize(smooth_loss, weights, outer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = product(v)
    assert torch.equal(under_autocast["m"], product(v)["m"])
    assert under_autocast["m"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_below_float32_are_refused_by_name(dtype: torch.dtype):
    weights, outer, _ = example()
    weights["b"] = weights["b"].to(dtype)
    with pytest.raises(ValueError, match=r"'b'.*ExactProduct"):
        FiniteDifference().linearize(smooth_loss, weights, outer)


def test_with_relu_the_two_are_different_estimators():
    """The second derivative of ReLU is 0 almost everywhere; a difference over the kink sees the jump of the slope."""

    def loss(weights: Tensors, outer: Tensors) -> Tensor:
        return (weights["w"].relu() * outer["m"]).sum()

    weights, outer, v = {"w": torch.tensor([-1e-3])}, {"m": torch.ones(1)}, {"w": torch.ones(1)}
    _, exact = ExactProduct().linearize(loss, weights, outer)
    _, difference = FiniteDifference(radius=0.01).linearize(loss, weights, outer)
    assert exact(v)["m"] == 0
    assert_close(difference(v)["m"], torch.tensor([0.45]), rtol=1e-4, atol=0)
