"""Penalties shape the loss as their equations say, with the gradients that follow."""

import pickle

import pytest
import torch
from torch.testing import assert_close

from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Linear
from dnas.method.penalty import Anchor, BetaDecay, DirichletPrior, Entropy, ExpectedCost, ZeroOne

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
        ({"op": [1.0, 2.0]}, r"costs has 'op', which is not a decision of the model; it has \['act', 'cell'\]"),
        ({"act": [1.0]}, r"costs of 'act' have shape \(1,\), but its mixture \(2,\)"),
        ({"cell": [1.0, 2.0, 3.0]}, r"costs of 'cell' have shape \(3,\), but its mixture \(2, 3\)"),
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


# Dirichlet prior and anchor


def test_the_dirichlet_prior_is_the_divergence_that_torch_computes():
    a = alphas()
    found = DirichletPrior(Constant(0.3))(LOSS, a, mixtures(a), HALF)
    laws = [torch.distributions.Dirichlet(torch.nn.functional.elu(alpha) + 1) for alpha in a.values()]
    uniform = [torch.distributions.Dirichlet(torch.ones_like(alpha)) for alpha in a.values()]
    rows = [torch.distributions.kl_divergence(law, prior).flatten() for law, prior in zip(laws, uniform, strict=True)]
    divergence = torch.cat(rows).sum()
    assert_close(found, LOSS + 0.3 * divergence, rtol=1e-13, atol=0)
    ours, theirs = (torch.autograd.grad(value, list(a.values())) for value in (found, 0.3 * divergence))
    assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("penalty", [DirichletPrior(), Anchor()])
def test_prior_and_anchor_are_nothing_at_alpha_0_and_pull_back_there(penalty):
    a = {"act": torch.zeros(3, dtype=torch.float64, requires_grad=True)}
    penalized = penalty(LOSS, a, {}, HALF)
    # lgamma and digamma are accurate to some units in the last place.
    assert_close(penalized, LOSS, rtol=1e-14, atol=0)
    assert_close(torch.autograd.grad(penalized, a["act"])[0], torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-14)
    a = {"act": torch.tensor([0.7, -0.7, 0.0], dtype=torch.float64, requires_grad=True)}
    (gradient,) = torch.autograd.grad(penalty(LOSS, a, {}, HALF), a["act"])
    assert gradient[0] > 0 > gradient[1]


def test_the_dirichlet_prior_is_finite_where_a_concentration_vanishes():
    a = {"act": torch.tensor([-80.0, 0.0], requires_grad=True)}
    penalized = DirichletPrior()(torch.tensor(1.0), a, {}, torch.tensor(0.0))
    assert penalized.isfinite()
    assert torch.autograd.grad(penalized, a["act"])[0].isfinite().all()


def test_the_gradient_of_the_anchor_is_a_decay_of_alpha_above_0_and_of_the_concentration_below():
    a = alphas()
    penalized = Anchor(Constant(0.4))(LOSS, a, {}, HALF)
    for alpha, gradient in zip(a.values(), torch.autograd.grad(penalized, list(a.values())), strict=True):
        below = (alpha.exp() - 1) * alpha.exp()
        assert_close(gradient, 0.4 * torch.where(alpha >= 0, alpha, below).detach(), rtol=1e-13, atol=0)


def test_with_positive_alphas_the_anchor_is_the_weight_decay_of_adam():
    start = torch.tensor([0.2, 1.5], dtype=torch.float64)
    ends = []
    for decay, anchor in ((0.1, 0.0), (0.0, 0.1)):
        alpha = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([alpha], lr=0.01, betas=(0.5, 0.999), weight_decay=decay)
        for _ in range(5):
            loss = (alpha * torch.tensor([1.0, -0.3], dtype=torch.float64)).sum()
            (alpha.grad,) = torch.autograd.grad(Anchor(Constant(anchor))(loss, {"act": alpha}, {}, HALF), alpha)
            optimizer.step()
        ends.append(alpha.detach())
    assert_close(*ends, rtol=1e-13, atol=0)


# Zero-one and entropy


def test_zero_one_takes_the_mean_square_distance_of_all_gates_from_one_half():
    a = alphas()
    gates = torch.cat([(1 / (1 + (-alpha).exp())).flatten() for alpha in a.values()])
    expected = LOSS - 10 * ((gates - 0.5) ** 2).sum() / 8
    assert_close(ZeroOne()(LOSS, a, mixtures(a), HALF), expected, rtol=1e-14, atol=0)


def test_descending_zero_one_opens_what_is_open_and_closes_what_is_closed():
    a = {"act": torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64, requires_grad=True)}
    (gradient,) = torch.autograd.grad(ZeroOne()(LOSS, a, {}, HALF), a["act"])
    assert gradient[0] < 0 < gradient[1]
    assert gradient[2] == 0


def test_entropy_is_that_of_the_softmax_of_each_row():
    a = alphas()
    laws = [torch.distributions.Categorical(logits=row) for row in (a["act"], *a["cell"])]
    expected = LOSS + 0.5 * sum(law.entropy() for law in laws) / 3
    assert_close(Entropy(Linear(0.0, 1.0))(LOSS, a, mixtures(a), HALF), expected, rtol=1e-14, atol=0)


def test_entropy_is_largest_where_all_candidates_are_alike():
    a = {"act": torch.zeros(4, dtype=torch.float64)}
    assert_close(Entropy(Constant(1.0))(LOSS, a, {}, HALF), LOSS + torch.tensor(4.0, dtype=torch.float64).log())


def test_entropy_is_finite_where_a_candidate_has_won():
    a = {"act": torch.tensor([0.0, -500.0], requires_grad=True)}
    penalized = Entropy(Constant(1.0))(torch.tensor(1.0), a, {}, torch.tensor(0.0))
    assert_close(penalized, torch.tensor(1.0))
    assert torch.autograd.grad(penalized, a["act"])[0].isfinite().all()


# All of them

OF_CANDIDATES = [Anchor(), BetaDecay(), DirichletPrior(), Entropy(), ZeroOne()]


@pytest.mark.parametrize("penalty", OF_CANDIDATES, ids=repr)
def test_the_alphas_of_edges_take_no_part(penalty):
    a = alphas()
    edges = {"cell.edges": torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)}
    penalized = penalty(LOSS, a | edges, {}, HALF)
    assert torch.equal(penalized, penalty(LOSS, a, {}, HALF))
    assert torch.autograd.grad(penalized, edges["cell.edges"], allow_unused=True) == (None,)


@pytest.mark.parametrize("penalty", OF_CANDIDATES, ids=repr)
def test_a_choice_that_is_merely_named_like_edges_takes_part(penalty):
    alpha = alphas()["act"]
    assert torch.equal(penalty(LOSS, {"act.edges": alpha}, {}, HALF), penalty(LOSS, {"act": alpha}, {}, HALF))


@pytest.mark.parametrize("penalty", OF_CANDIDATES, ids=repr)
def test_the_weight_follows_its_schedule(penalty):
    a = alphas()
    twice = type(penalty)(Linear(0.0, 4.0))
    full = twice(LOSS, a, {}, torch.tensor(1.0, dtype=torch.float64)) - LOSS
    assert_close(twice(LOSS, a, {}, HALF) - LOSS, full / 2, rtol=1e-12, atol=0)
    assert twice(LOSS, a, {}, 0 * HALF) == LOSS
    assert full != 0


@pytest.mark.parametrize("penalty", [*OF_CANDIDATES, ExpectedCost(COSTS, 3.0)], ids=repr)
def test_penalties_can_be_pickled_and_compared(penalty):
    assert pickle.loads(pickle.dumps(penalty)) == penalty
