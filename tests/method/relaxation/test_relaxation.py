"""Relaxations follow their equations, in value, distribution and gradient."""

import math
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.choice import Choice
from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Linear
from dnas.method.relaxation import Dirichlet, GumbelSoftmax, ReinMax, Relaxation, Sigmoid, Softmax, UniformPath
from dnas.method.relaxation.gumbel import gumbel_like

START, END = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
ALPHA = torch.tensor([[0.3, -1.2, 0.5], [2.0, 0.0, -0.4]], dtype=torch.float64)
WARM = Constant(0.7)
ALL: list[Relaxation] = [
    Softmax(),
    Sigmoid(),
    GumbelSoftmax(WARM, hard=False),
    GumbelSoftmax(WARM, hard=True),
    GumbelSoftmax(WARM, hard=True, compute_all=True),
    Dirichlet(),
    ReinMax(),
    UniformPath(),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alpha_leaf() -> Tensor:
    return ALPHA.clone().requires_grad_()


def softmax_jacobian(p: Tensor, temperature: float = 1.0) -> Tensor:
    """d p_k / d alpha_j = p_k (delta_kj - p_j) / T."""
    return (torch.diag(p) - torch.outer(p, p)) / temperature


# Softmax and sigmoid


def test_softmax_is_exp_over_sum_of_exp():
    expected = ALPHA.exp() / ALPHA.exp().sum(-1, keepdim=True)
    for mixture in (Softmax().sample(ALPHA, START, None), Softmax().expected(ALPHA, END)):
        assert_close(mixture.values, expected, rtol=1e-14, atol=0)
        assert mixture.active is None


def test_sigmoid_gates_do_not_compete():
    expected = 1 / (1 + (-ALPHA).exp())
    for mixture in (Sigmoid().sample(ALPHA, START, None), Sigmoid().expected(ALPHA, END)):
        assert_close(mixture.values, expected, rtol=1e-14, atol=0)
        assert mixture.active is None


# Gumbel noise


def test_gumbel_noise_has_its_mean_variance_and_distribution():
    noise = gumbel_like(torch.empty(200_000, dtype=torch.float64), generator())
    # Mean 0.5772 (Euler), variance pi^2 / 6; five standard errors of each.
    assert abs(noise.mean().item() - 0.5772156649) < 5 * math.sqrt(math.pi**2 / 6 / 200_000)
    assert abs(noise.var().item() - math.pi**2 / 6) < 5 * math.sqrt(4.4) * math.pi**2 / 6 / math.sqrt(200_000)
    for x in (-1.0, 0.0, 2.0):
        below = math.exp(-math.exp(-x))
        assert abs((noise <= x).double().mean().item() - below) < 5 * math.sqrt(below * (1 - below) / 200_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gumbel_noise_is_finite_and_repeats_with_its_seed(dtype):
    like = torch.empty(100_000, dtype=dtype)
    noise = gumbel_like(like, generator(3))
    assert noise.dtype == dtype
    assert noise.isfinite().all()
    assert torch.equal(noise, gumbel_like(like, generator(3)))
    assert not torch.equal(noise, gumbel_like(like, generator(4)))


def test_draws_leave_the_global_random_state_alone_where_a_generator_is_given():
    before = torch.get_rng_state()
    GumbelSoftmax().sample(ALPHA, START, generator())
    assert torch.equal(torch.get_rng_state(), before)


# Gumbel softmax


def test_a_soft_sample_follows_its_equation_at_the_temperature_of_the_progress():
    relaxation = GumbelSoftmax(Linear(10.0, 0.1), hard=False)
    noise = gumbel_like(ALPHA, generator(1))
    for progress in (START, END, (START + END) / 4):
        temperature = 10.0 - 9.9 * progress
        expected = ((ALPHA.log_softmax(-1) + noise) / temperature).softmax(-1)
        assert_close(relaxation.sample(ALPHA, progress, generator(1)).values, expected, rtol=1e-13, atol=1e-300)


def test_soft_samples_are_uniform_at_high_and_one_hot_at_low_temperature():
    hot = GumbelSoftmax(Constant(1e6), hard=False).sample(ALPHA, START, generator()).values
    cold = GumbelSoftmax(Constant(1e-6), hard=False).sample(ALPHA, START, generator()).values
    assert_close(hot, torch.full_like(hot, 1 / 3), rtol=0, atol=1e-5)
    assert_close(cold.amax(-1), torch.ones(2, dtype=torch.float64))


def test_hard_samples_are_drawn_with_the_probabilities_of_the_softmax():
    number = 40_000
    alpha = ALPHA[0].expand(number, 3)
    mixture = GumbelSoftmax(WARM).sample(alpha, START, generator(5))
    p = ALPHA[0].softmax(-1)
    frequencies = mixture.values.mean(0)
    # Five standard deviations of a binomial frequency: 3 checks fail by chance once in 600,000 seeds.
    assert ((frequencies - p).abs() < 5 * (p * (1 - p) / number).sqrt()).all()
    assert mixture.active == tuple((k,) for k in mixture.values.argmax(-1).tolist())


def test_the_temperature_does_not_change_what_is_drawn():
    drawn = [
        GumbelSoftmax(Constant(temperature)).sample(ALPHA, START, generator(2)).active
        for temperature in (0.1, 1.0, 10.0)
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_hard_sample_is_one_hot_and_lets_only_the_drawn_candidate_be_computed():
    mixture = GumbelSoftmax(WARM).sample(ALPHA, START, generator())
    assert mixture.active is not None
    for row, (drawn,) in zip(mixture.values, mixture.active, strict=True):
        assert_close(row, nn.functional.one_hot(torch.tensor(drawn), 3).double(), rtol=0, atol=1e-15)


def test_the_straight_through_gradient_with_all_candidates_is_that_of_the_soft_sample():
    coefficients = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], dtype=torch.float64)
    alpha = alpha_leaf()
    mixture = GumbelSoftmax(WARM, compute_all=True).sample(alpha, START, generator(1))
    assert mixture.active is None
    (gradient,) = torch.autograd.grad((coefficients * mixture.values).sum(), alpha)
    noise = gumbel_like(ALPHA, generator(1))
    p = ((ALPHA.log_softmax(-1) + noise) / 0.7).softmax(-1)
    expected = torch.stack([softmax_jacobian(row, 0.7) @ c for row, c in zip(p, coefficients, strict=True)])
    assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def test_with_only_the_drawn_candidate_computed_only_its_entry_has_a_gradient():
    """The gradient of GDAS: the drawn candidate's output times d p_drawn / d alpha."""
    factors = [2.0, -3.0, 5.0]

    class Scale(nn.Module):
        def __init__(self, factor: float):
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    choice = Choice("op", {str(factor): Scale(factor) for factor in factors})
    alpha = ALPHA[0].clone().requires_grad_()
    drawn = GumbelSoftmax(WARM).sample(alpha, START, generator(1))
    values = drawn.values.detach().requires_grad_()
    choice.bind({"op": Mixture(values, drawn.active)})
    (d_mixture,) = torch.autograd.grad(choice(torch.ones((), dtype=torch.float64)), values)
    assert drawn.active is not None
    k = drawn.active[0][0]
    assert d_mixture.nonzero().tolist() == [[k]]

    choice.bind({"op": drawn})
    (d_alpha,) = torch.autograd.grad(choice(torch.ones((), dtype=torch.float64)), alpha)
    p = ((ALPHA[0].log_softmax(-1) + gumbel_like(ALPHA[0], generator(1))) / 0.7).softmax(-1)
    assert_close(d_alpha, factors[k] * softmax_jacobian(p, 0.7)[k], rtol=1e-12, atol=1e-14)


def test_evaluation_uses_the_probabilities_whatever_the_temperature():
    for relaxation in (GumbelSoftmax(Constant(0.01)), GumbelSoftmax(Constant(100.0), hard=False)):
        mixture = relaxation.expected(ALPHA, END)
        assert_close(mixture.values, ALPHA.softmax(-1), rtol=1e-14, atol=0)
        assert mixture.active is None


# All of them


@pytest.mark.parametrize("relaxation", ALL, ids=str)
def test_a_candidate_at_minus_infinity_has_weight_0_and_no_gradient_and_no_nan(relaxation):
    ruled_out = torch.tensor([[False, True, False], [False, True, True]])
    alpha = ALPHA.masked_fill(ruled_out, -math.inf).requires_grad_()
    coefficients = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], dtype=torch.float64)
    for seed in range(20):
        for mixture in (relaxation.sample(alpha, START, generator(seed)), relaxation.expected(alpha, START)):
            assert mixture.values.isfinite().all()
            assert (mixture.values[ruled_out] == 0).all()
            (gradient,) = torch.autograd.grad((coefficients * mixture.values).sum(), alpha)
            assert gradient.isfinite().all()
            assert (gradient[ruled_out] == 0).all()


@pytest.mark.parametrize("relaxation", ALL, ids=str)
def test_a_sample_is_differentiable_and_has_the_dtype_and_shape_of_alpha(relaxation):
    for shape in ((3,), (2, 3)):
        alpha = torch.zeros(shape, requires_grad=True)
        values = relaxation.sample(alpha, torch.tensor(0.5), generator()).values
        assert (values.shape, values.dtype, values.requires_grad) == (shape, torch.float32, True)
        assert relaxation.expected(alpha, torch.tensor(0.5)).values.shape == shape


@pytest.mark.parametrize("relaxation", ALL, ids=str)
def test_relaxations_can_be_pickled_and_compared(relaxation):
    assert pickle.loads(pickle.dumps(relaxation)) == relaxation
