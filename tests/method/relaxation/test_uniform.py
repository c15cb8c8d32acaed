"""Uniform paths: every candidate as often, whatever the alphas."""

import math

import torch
from torch.testing import assert_close

from dnas.method.relaxation import UniformPath

START = torch.tensor(0.0, dtype=torch.float64)
ALPHA = torch.tensor([[5.0, -30.0, 0.0, -math.inf]], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_allowed_candidates_are_drawn_equally_often_whatever_their_alpha():
    number = 30_000
    mixture = UniformPath().sample(ALPHA.expand(number, 4), START, generator(3))
    frequencies = mixture.values.mean(0)
    # Five standard deviations of a binomial frequency of 1 / 3.
    assert ((frequencies[:3] - 1 / 3).abs() < 5 * math.sqrt(2 / 9 / number)).all()
    assert frequencies[3] == 0
    assert mixture.active == tuple((k,) for k in mixture.values.argmax(-1).tolist())


def test_values_are_one_hot_and_the_gradient_is_0_but_there():
    alpha = ALPHA.clone().requires_grad_()
    for mixture in (UniformPath().sample(alpha, START, generator()), UniformPath().expected(alpha, START)):
        (gradient,) = torch.autograd.grad((mixture.values * torch.arange(4.0)).sum(), alpha)
        assert not gradient.any()
    assert sorted(UniformPath().sample(alpha, START, generator()).values.flatten().tolist()) == [0, 0, 0, 1]


def test_rows_are_drawn_independently():
    drawn = UniformPath().sample(torch.zeros(200, 3), START, generator(1)).values.argmax(-1)
    assert len(set(drawn.tolist())) == 3


def test_evaluation_weighs_all_that_are_allowed_equally():
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0]], dtype=torch.float64)
    assert_close(UniformPath().expected(ALPHA, START).values, expected, rtol=1e-15, atol=0)
