"""Dirichlet draws and their gradients are those of the distribution."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from dnas.method.relaxation import Dirichlet
from dnas.method.relaxation.dirichlet import SMALLEST, concentration, same_device

START = torch.tensor(0.0, dtype=torch.float64)
ALPHA = torch.tensor([[0.3, -1.2, 0.5], [2.0, 0.0, -0.4]], dtype=torch.float64)
COEFFICIENTS = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradient_of_sum(values: Tensor, alpha: Tensor, coefficients: Tensor = COEFFICIENTS) -> Tensor:
    return torch.autograd.grad((coefficients * values).sum(), alpha)[0]


def test_the_concentration_is_elu_plus_1_and_stays_above_its_bound():
    alpha = torch.tensor([-1.0, 0.0, 2.0, -50.0], dtype=torch.float64)
    expected = torch.tensor([math.exp(-1.0), 1.0, 3.0, SMALLEST], dtype=torch.float64)
    assert_close(concentration(alpha), expected, rtol=1e-15, atol=0)


def test_draw_and_gradient_are_those_of_torch_with_the_same_random_numbers():
    alpha = ALPHA.clone().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        theirs = torch.distributions.Dirichlet(torch.nn.functional.elu(alpha) + 1).rsample()
        torch.manual_seed(3)
        ours = Dirichlet().sample(alpha, START, None).values
    assert torch.equal(ours, theirs)
    # The same operations but for the order of one sum.
    assert_close(gradient_of_sum(ours, alpha), gradient_of_sum(theirs, alpha), rtol=1e-13, atol=1e-15)


def test_a_generator_gives_the_draw_of_the_global_one_with_its_seed():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = Dirichlet().sample(ALPHA, START, None).values
    assert torch.equal(Dirichlet().sample(ALPHA, START, generator(5)).values, expected)


def test_the_gradient_is_the_implicit_derivative_of_the_marginal_distribution():
    """dm_k / dc_k = -(dF / dc_k) / (dF / dm_k) with F the Beta(c_k, sum of the others) distribution of m_k."""
    alpha = ALPHA.clone().requires_grad_()
    values = Dirichlet().sample(alpha, START, generator(1)).values
    c, m, h = concentration(ALPHA), values.detach(), 1e-5
    for row, k in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)):
        own, others = c[row, k].item(), (c[row].sum() - c[row, k]).item()
        up, down = (stats.beta.cdf(m[row, k].item(), own + sign * h, others) for sign in (1, -1))
        implicit = -(up - down) / (2 * h) / stats.beta.pdf(m[row, k].item(), own, others)
        found = torch.autograd.grad(values[row, k], alpha, retain_graph=True)[0][row, k]
        slope = math.exp(min(ALPHA[row, k].item(), 0.0))  # dc / dalpha
        # A central difference of a function of order 1 with step 1e-5: 1e-10; torch's approximation: below 1e-3.
        assert found.item() == pytest.approx(slope * implicit, rel=1e-3)


def test_what_one_candidate_gains_the_others_lose_in_proportion():
    alpha = ALPHA.clone().requires_grad_()
    values = Dirichlet().sample(alpha, START, generator(1)).values
    jacobian = torch.stack([torch.autograd.grad(v, alpha, retain_graph=True)[0][0] for v in values[0]])  # [j, k]
    m = values[0].detach()
    for k in range(3):
        others = [j for j in range(3) if j != k]
        assert_close(jacobian[others, k], -jacobian[k, k] * m[others] / (1 - m[k]), rtol=1e-12, atol=1e-15)


def test_draws_have_the_mean_and_variance_of_the_distribution():
    number = 100_000
    draws = Dirichlet().sample(ALPHA[1].expand(number, 3), START, generator(2)).values
    law = torch.distributions.Dirichlet(concentration(ALPHA[1]))
    # Five standard errors; the variance's own relative error is about sqrt(2 / number) for such distributions.
    assert ((draws.mean(0) - law.mean).abs() < 5 * (law.variance / number).sqrt()).all()
    assert_close(draws.var(0), law.variance, rtol=5 * math.sqrt(4 / number), atol=0)


def test_the_mean_gradient_of_draws_is_the_gradient_of_the_mean():
    number = 100_000
    alpha = ALPHA[1].clone().requires_grad_()
    draws = Dirichlet().sample(alpha.expand(number, 3), START, generator(4)).values
    found = gradient_of_sum(draws / number, alpha, COEFFICIENTS[1])
    exact = gradient_of_sum(Dirichlet().expected(alpha, START).values, alpha, COEFFICIENTS[1])
    # Single gradients differ little (measured standard deviation below 0.1): five standard errors.
    assert_close(found, exact, rtol=0, atol=5 * 0.1 / math.sqrt(number))


def test_evaluation_uses_the_mean_of_the_distribution():
    expected = torch.distributions.Dirichlet(concentration(ALPHA)).mean
    assert_close(Dirichlet().expected(ALPHA, START).values, expected, rtol=1e-14, atol=0)


def test_a_row_with_ruled_out_candidates_is_the_distribution_of_the_others():
    """Draw, gradient and mean are those of a smaller row that is given the same gamma draws."""
    kept = [0, 2]
    alpha = ALPHA[0].clone()
    alpha[1] = -math.inf
    alpha.requires_grad_()
    values = Dirichlet().sample(alpha, START, generator(7)).values
    small = ALPHA[0, kept].clone().requires_grad_()
    c = concentration(small).detach()
    gamma = torch._standard_gamma(concentration(alpha).detach(), generator(7))[kept]  # type: ignore
    drawn = gamma / gamma.sum()
    assert_close(values[kept], drawn, rtol=1e-14, atol=0)
    factor = torch._dirichlet_grad(drawn, c, c.sum().expand_as(c))  # type: ignore
    weights = COEFFICIENTS[0, kept]
    expected = factor * (weights - (weights * drawn).sum()) * small.detach().clamp(max=0).exp()
    found = gradient_of_sum(values, alpha, COEFFICIENTS[0])
    assert_close(found[kept], expected, rtol=1e-12, atol=1e-15)
    assert found[1] == 0 == values[1]
    assert_close(Dirichlet().expected(alpha, START).values[kept], Dirichlet().expected(small, START).values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_alphas_give_finite_draws_and_gradients(dtype):
    for seed in range(50):
        alpha = (8 * torch.randn(20, 5, generator=generator(seed), dtype=dtype)).requires_grad_()
        values = Dirichlet().sample(alpha, START, generator(seed)).values
        assert values.isfinite().all()
        assert gradient_of_sum(values, alpha, torch.arange(5.0)).isfinite().all()


def test_the_generator_itself_draws_where_it_lives_on_the_device_of_the_alphas():
    mine = generator(1)
    assert same_device(None, torch.device("cpu")) is None
    assert same_device(mine, torch.device("cpu")) is mine


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_a_generator_on_the_host_seeds_the_draw_on_the_device():
    alpha = ALPHA.cuda().requires_grad_()
    first, again, other = (Dirichlet().sample(alpha, START, generator(seed)).values for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert gradient_of_sum(first, alpha, COEFFICIENTS.cuda()).isfinite().all()
