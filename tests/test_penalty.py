"""Penalties shape the loss as their equations say, with the gradients that follow."""

import pickle

import pytest
import torch
from torch.testing import assert_close

from dnas.mixture import Mixture
from dnas.penalty import BetaDecay, ExpectedCost
from dnas.schedule import Constant, Linear

LOSS = torch.tensor(1.7, dtype=torch.float64)
HALF = torch.tensor(0.5, dtype=torch.float64)


def alphas() -> dict[str, torch.Tensor]:
    return {
        "act": torch.tensor([0.2, -0.5], dtype=torch.float64, requires_grad=True),
        "cell": torch.tensor([[1.0, 0.0, 2.0], [0.3, 0.4, -3.0]], dtype=torch.float64, requires_grad=True),
    }


def mixtures(from_alphas) -> dict[str, Mixture]:
    return {name: Mixture(alpha.softmax(-1)) for name, alpha in from_alphas.items()}


def test_beta_decay_adds_the_mean_logsumexp_of_all_rows():
    a = alphas()
    found = BetaDecay(Linear(0.0, 50.0))(LOSS, a, mixtures(a), HALF)
    rows = [a["act"].exp().sum().log(), *a["cell"].exp().sum(-1).log()]
    assert_close(found, LOSS + 25 * sum(rows) / 3, rtol=1e-14, atol=0)


def test_the_gradient_of_beta_decay_is_the_softmax_of_each_row():
    a = alphas()
    penalized = BetaDecay(Constant(3.0))(LOSS, a, {}, HALF)
    for alpha, gradient in zip(a.values(), torch.autograd.grad(penalized, list(a.values())), strict=True):
        assert_close(gradient, 3.0 * alpha.softmax(-1) / 3, rtol=1e-13, atol=0)


def test_beta_decay_does_not_mind_ruled_out_candidates():
    a = {"act": torch.tensor([0.2, -torch.inf], requires_grad=True)}
    penalized = BetaDecay(Constant(1.0))(torch.tensor(1.0), a, {}, torch.tensor(0.0))
    assert_close(penalized, torch.tensor(1.2))
    assert_close(torch.autograd.grad(penalized, a["act"])[0], torch.tensor([1.0, 0.0]))


def test_beta_decay_starts_at_nothing_as_in_the_paper():
    a = alphas()
    assert_close(BetaDecay()(LOSS, a, {}, torch.zeros((), dtype=torch.float64)), LOSS)


COSTS = {"act": [1.0, 4.0], "cell": [[0.0, 2.0, 8.0], [1.0, 1.0, 1.0]]}


def test_expected_cost_multiplies_the_loss_by_a_power_of_the_mean_cost():
    a = alphas()
    m = mixtures(a)
    cost = sum((m[name].values * torch.tensor(cost, dtype=torch.float64)).sum() for name, cost in COSTS.items())
    found = ExpectedCost(COSTS, target=3.0, exponent=0.6)(LOSS, a, m, HALF)
    assert_close(found, LOSS * (cost / 3.0) ** 0.6, rtol=1e-14, atol=0)


def test_the_gradient_of_expected_cost_is_the_cost_times_one_factor():
    values = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)
    penalized = ExpectedCost({"act": [2.0, 6.0]}, target=4.0, exponent=0.5)(LOSS, {}, {"act": Mixture(values)}, HALF)
    # d/dm L (C / t)^e = L e (C / t)^e / C * cost, with C = 5.
    factor = 1.7 * 0.5 * (5 / 4) ** 0.5 / 5
    expected = factor * torch.tensor([2.0, 6.0], dtype=torch.float64)
    assert_close(torch.autograd.grad(penalized, values)[0], expected, rtol=1e-14, atol=0)


def test_at_the_target_and_with_exponent_0_the_loss_stays():
    m = {"act": Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64))}
    for penalty in (
        ExpectedCost({"act": [2.0, 6.0]}, target=4.0),
        ExpectedCost({"act": [2.0, 6.0]}, 1.0, exponent=0.0),
    ):
        assert_close(penalty(LOSS, {}, m, HALF), LOSS, rtol=1e-15, atol=0)


def test_decisions_without_costs_cost_nothing():
    a = alphas()
    one, both = ({"act": [2.0, 6.0]}, {"act": [2.0, 6.0], "cell": [[0.0] * 3] * 2})
    assert_close(*(ExpectedCost(costs, target=4.0)(LOSS, a, mixtures(a), HALF) for costs in (one, both)))


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"op": [1.0, 2.0]}, r"costs has 'op', which is no decision of the model; it has \['act', 'cell'\]"),
        ({"act": [1.0]}, r"costs of 'act' have shape \(1,\), its mixture \(2,\)"),
        ({"cell": [1.0, 2.0, 3.0]}, r"costs of 'cell' have shape \(3,\), its mixture \(2, 3\)"),
    ],
)
def test_costs_that_do_not_fit_are_named(costs, message):
    a = alphas()
    with pytest.raises(ValueError, match=message):
        ExpectedCost(costs, target=1.0)(LOSS, a, mixtures(a), HALF)


@pytest.mark.parametrize(("costs", "target"), [({}, 1.0), (COSTS, 0.0), (COSTS, -1.0), (COSTS, float("nan"))])
def test_nothing_to_pay_and_no_target_are_refused(costs, target):
    with pytest.raises(ValueError, match="needs costs and a target above 0"):
        ExpectedCost(costs, target)


@pytest.mark.parametrize("penalty", [BetaDecay(), ExpectedCost(COSTS, 3.0)])
def test_penalties_can_be_pickled_and_compared(penalty):
    assert pickle.loads(pickle.dumps(penalty)) == penalty
