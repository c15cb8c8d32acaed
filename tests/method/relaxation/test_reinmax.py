"""ReinMax: the official formula, and exact in the mean where the paper says so."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dnas.core.schedule import Constant, Linear
from dnas.method.relaxation import GumbelSoftmax, ReinMax

START = torch.tensor(0.0, dtype=torch.float64)
ALPHA = torch.tensor([0.3, -1.2, 0.5, 0.9], dtype=torch.float64)
G = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(alpha: Tensor, relaxation=ReinMax()) -> dict[int, Tensor]:
    """One sample for each candidate that can be drawn, from as many seeds as it takes."""
    found: dict[int, Tensor] = {}
    for seed in range(1000):
        values = relaxation.sample(alpha, START, generator(seed)).values
        found.setdefault(int(values.argmax()), values)
        if len(found) == (alpha.detach() != -math.inf).sum():
            return found
    raise AssertionError(f"only {sorted(found)} were drawn")


@pytest.mark.parametrize("temperature", [1.0, 1.3, 4.0])
def test_the_gradient_is_that_of_the_official_code(temperature):
    """2 (g q - q (g . q)) - (g p - p (g . p)) / 2 with q the mean of softmax(alpha / T) and the draw."""
    alpha = ALPHA.clone().requires_grad_()
    p = ALPHA.exp() / ALPHA.exp().sum()
    tempered = (ALPHA / temperature).exp() / (ALPHA / temperature).exp().sum()
    for k, values in draws(alpha, ReinMax(Constant(temperature))).items():
        q = 0.5 * tempered
        q[k] += 0.5
        expected = 2 * (G * q - q * (G @ q)) - 0.5 * (G * p - p * (G @ p))
        (found,) = torch.autograd.grad((G * values).sum(), alpha)
        assert_close(found, expected, rtol=1e-13, atol=1e-15)


def quadratic(D: Tensor) -> Tensor:
    matrix = torch.tensor(
        [[2.0, -1.0, 0.3, 0.0], [0.5, 1.0, 0.0, -2.0], [0.0, 0.7, -1.0, 1.0], [1.0, 0.0, 0.0, 3.0]], dtype=torch.float64
    )
    return D @ matrix @ D + G @ D


def mean_and_exact_gradient(loss, relaxation) -> tuple[Tensor, Tensor]:
    """Mean over all draws of the estimator, and the gradient of sum_k p_k loss(one-hot k)."""
    alpha = ALPHA.clone().requires_grad_()
    p = ALPHA.softmax(-1)
    found = [p[k] * torch.autograd.grad(loss(values), alpha)[0] for k, values in draws(alpha, relaxation).items()]
    losses = torch.stack([loss(row) for row in torch.eye(4, dtype=torch.float64)])
    (exact,) = torch.autograd.grad(alpha.softmax(-1) @ losses, alpha)
    return torch.stack(found).sum(0), exact


def test_its_mean_is_the_exact_gradient_of_a_quadratic_loss():
    mean, exact = mean_and_exact_gradient(quadratic, ReinMax())
    assert_close(mean, exact, rtol=1e-12, atol=1e-14)


def test_it_is_not_exact_beyond_second_order_nor_at_other_temperatures_nor_is_straight_through():
    """So the test above sees what makes ReinMax ReinMax."""
    for loss, relaxation in (
        (lambda D: quadratic(D) + 3 * (G @ D) ** 3, ReinMax()),
        (quadratic, ReinMax(Constant(2.0))),
        (quadratic, GumbelSoftmax(Constant(1.0), compute_all=True)),
    ):
        mean, exact = mean_and_exact_gradient(loss, relaxation)
        assert (mean - exact).abs().max() > 1e-2


def test_the_value_is_one_hot_to_the_last_bit():
    values = ReinMax().sample(ALPHA.clone().requires_grad_(), START, generator()).values
    assert sorted(values.tolist()) == [0, 0, 0, 1]


def test_it_draws_what_hard_gumbel_draws():
    for seed in range(20):
        hard = GumbelSoftmax().sample(ALPHA, START, generator(seed)).values
        assert torch.equal(ReinMax().sample(ALPHA, START, generator(seed)).values.argmax(), hard.argmax())


def test_all_candidates_are_computed_for_a_gradient_and_only_the_drawn_one_without():
    alpha = ALPHA.clone().requires_grad_()
    with_gradient = ReinMax().sample(alpha, START, generator(1))
    assert with_gradient.active is None
    with torch.no_grad():
        without = ReinMax().sample(alpha, START, generator(1))
    assert torch.equal(with_gradient.values, without.values)
    assert without.active == ((int(without.values.argmax()),),)


def test_evaluation_uses_the_probabilities():
    assert_close(ReinMax().expected(ALPHA, START).values, ALPHA.softmax(-1), rtol=1e-14, atol=0)


@pytest.mark.parametrize("schedule", [Constant(0.5), Linear(10.0, 0.1), Constant(float("nan"))])
def test_temperatures_below_1_are_refused(schedule):
    with pytest.raises(ValueError, match="temperature of at least 1"):
        ReinMax(schedule)
