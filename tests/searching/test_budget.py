"""A search within a budget delivers a network that meets it, and holds the expected cost on the way."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas.core.choice import Choice
from dnas.core.derive import derive
from dnas.core.run import Run
from dnas.cost import count_flops, count_parameters
from dnas.cost.budget import Budget
from dnas.cost.delivered import DerivedNetwork
from dnas.method.discretization import Argmax, Evolution, Perturbation, RandomSampling
from dnas.method.discretization.within import rules_of
from dnas.method.penalty import ExpectedCost
from dnas.method.relaxation import GumbelSoftmax, Softmax, UniformPath
from dnas.searching.held_budget import HeldBudget
from dnas.searching.own_bounds import bounds_on
from dnas.searching.search import search
from dnas.searching.settings import AlphaAdam, SearchSettings
from dnas.searching.supernet import Supernet
from dnas.system.errors import UserError


def layer(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 6))


def model() -> nn.Module:
    torch.manual_seed(0)
    choices = [Choice(f"op{i}", {"wide": layer(40), "narrow": layer(5), "skip": nn.Identity()}) for i in range(3)]
    return nn.Sequential(nn.Linear(4, 6), *choices, nn.Linear(6, 2))


def data(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.randn(16, 4, generator=generator) for _ in range(4)]
    return [(x, (x[:, 0] * x[:, 1] > 0).long()) for x in xs]


def settings(limit: str | None = None, *, priced: bool = True, **changes) -> SearchSettings:
    budget = None if limit is None else Budget((limit,), priced=priced)
    return SearchSettings(budget=budget, **{"epochs": 6, "alphas": AlphaAdam(lr=0.1), **changes})


@pytest.mark.parametrize("limit", ["flops<=20%", "flops<=60%", "parameters<=200", "multiadds<=150"])
@pytest.mark.parametrize(("relaxation", "priced"), [(Softmax(), True), (GumbelSoftmax(), False)])
def test_what_is_found_meets_the_budget(limit, relaxation, priced):
    result = search(model(), data(0), data(1), settings=settings(limit, relaxation=relaxation, priced=priced))
    network = derive(model(), result.architecture)
    counted = {
        "flops": count_flops(network, torch.zeros(1, 4)),
        "multiadds": count_flops(network, torch.zeros(1, 4)) / 2,
        "parameters": count_parameters(network),
    }
    bounds = bounds_on(DerivedNetwork(model(), torch.zeros(1, 4)), Budget((limit,)), Argmax())
    (found,) = bounds.ranges
    assert counted[found.limit.unit] == bounds.costs(result.architecture.decisions)[found.limit.unit] <= found.most


@pytest.mark.parametrize("rule", [Perturbation(0), RandomSampling(5), Evolution(population=4, generations=2)])
def test_so_does_what_a_rule_finds_that_tries_candidates(rule):
    within = settings("flops<=20%", relaxation=UniformPath(), discretization=rule, alphas=AlphaAdam())
    result = search(model(), data(0), data(1), settings=within)
    bounds = bounds_on(DerivedNetwork(model(), torch.zeros(1, 4)), Budget(("flops<=20%",)), rule)
    assert bounds.fits(result.architecture.decisions)


def test_without_a_price_the_alphas_are_those_of_a_search_without_a_budget():
    free, within = (
        search(model(), data(0), data(1), settings=settings(limit, priced=False)) for limit in (None, "flops<=20%")
    )
    for name, alpha in free.supernet.alphas.items():
        assert torch.equal(alpha, within.supernet.alphas[name])
    assert free.architecture != within.architecture
    assert "flops_use" not in within.metrics[-1]


def test_a_price_brings_the_expected_cost_to_the_budget():
    result = search(model(), data(0), data(1), settings=settings("flops<=20%", epochs=30))
    uses = [row["flops_use"] for row in result.metrics]
    assert uses[0] > 1.2
    assert all(use < 1.05 for use in uses[-5:])


def test_a_budget_that_everything_meets_changes_no_number():
    one, other = (search(model(), data(0), data(1), settings=settings(limit)) for limit in (None, "flops<=100%"))
    for name, alpha in one.supernet.alphas.items():
        assert torch.equal(alpha, other.supernet.alphas[name])
    assert one.architecture == other.architecture


def test_a_search_that_goes_on_from_its_checkpoint_holds_the_budget_as_before(tmp_path):
    whole = search(model(), data(0), data(1), settings=settings("flops<=20%"))

    class Stopped(Exception):
        pass

    class Stopping(Run):
        def save_checkpoint(self, name, state):
            super().save_checkpoint(name, state)
            if state.get("step") == 12:
                raise Stopped

    with pytest.raises(Stopped):
        search(model(), data(0), data(1), settings=settings("flops<=20%"), run=Stopping(tmp_path / "run"))
    resumed = search(model(), data(0), data(1), settings=settings("flops<=20%"), run=Run(tmp_path / "run"))
    for name, alpha in whole.supernet.alphas.items():
        assert torch.equal(alpha, resumed.supernet.alphas[name])
    multipliers, again = ([row["flops_multiplier"] for row in one.metrics] for one in (whole, resumed))
    assert multipliers == again
    assert any(multipliers)


def held(limit: str) -> tuple[Supernet, HeldBudget]:
    supernet = Supernet(model()).to(dtype=torch.float64)
    bounds = bounds_on(DerivedNetwork(supernet.model, torch.zeros(1, 4).double()), Budget((limit,)), Argmax())
    return supernet, HeldBudget(supernet, Softmax(), bounds, rules_of(Argmax()), steps_per_epoch=10)


def test_the_gradient_is_that_of_the_augmented_lagrangian():
    supernet, budget = held("flops<=20%")
    budget.multiplier.fill_(0.3)
    budget.factor.fill_(2.0)
    progress = torch.zeros(())

    def excess() -> torch.Tensor:
        mixtures = {name: alpha.softmax(0) for name, alpha in supernet.alphas.items()}
        (found,) = budget.bounds.ranges
        costs = sum((mixtures[name] * torch.tensor(found.cost.single[name][0])).sum() for name in mixtures)
        return (found.cost.constant + costs) / found.most - 1

    g = excess()
    assert g > 0
    paid = budget(torch.zeros((), dtype=torch.float64), supernet.alphas, {}, progress)
    assert_close(paid, ((0.3 + 2 * g) ** 2 - 0.3**2) / 4)
    gradients = torch.autograd.grad(paid, list(supernet.alphas.values()))
    expected = torch.autograd.grad(excess(), list(supernet.alphas.values()))
    for found, slope in zip(gradients, expected, strict=True):
        assert_close(found, (0.3 + 2 * g.detach()) * slope)


def test_the_multiplier_rises_over_the_budget_falls_below_it_and_never_under_0():
    supernet, budget = held("flops<=20%")
    loss, progress = torch.zeros((), dtype=torch.float64), torch.zeros(())
    budget(loss, supernet.alphas, {}, progress)
    over = budget._excess.item()
    budget.adapt()
    assert budget.multiplier.item() == pytest.approx(over / 10)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.copy_(torch.tensor([-9.0, -9.0, 9.0]))
    for _ in range(100):
        budget(loss, supernet.alphas, {}, progress)
        budget.adapt()
    assert budget.multiplier.item() == 0
    assert budget(loss, supernet.alphas, {}, progress).item() == 0


def test_the_factor_doubles_where_the_excess_does_not_fall_by_half():
    supernet, budget = held("flops<=20%")
    loss, progress = torch.zeros((), dtype=torch.float64), torch.zeros(())
    budget(loss, supernet.alphas, {}, progress)
    budget.end_epoch()
    assert budget.factor.item() == 1
    budget(loss, supernet.alphas, {}, progress)
    budget.end_epoch()
    assert budget.factor.item() == 2


def test_expected_cost_has_no_place_beside_a_price_of_the_budget():
    penalties = (ExpectedCost("flops", 0.5),)
    with pytest.raises(UserError, match="pay for costs a second time"):
        settings("flops<=20%", penalties=penalties)
    assert settings("flops<=20%", priced=False, penalties=penalties).penalties == penalties


@pytest.mark.parametrize(
    ("limit", "message"),
    [("flops<=1", "below the smallest network of this space"), ("milliseconds<=1", "needs a table of measured")],
)
def test_budgets_that_cannot_be_met_are_refused_before_the_search(limit, message):
    with pytest.raises(UserError, match=message):
        search(model(), data(0), data(1), settings=settings(limit))


def test_a_model_whose_costs_are_no_sum_is_refused():
    shared = nn.Linear(6, 6)
    choices = [Choice(f"op{i}", {"shared": shared, "skip": nn.Identity()}) for i in range(3)]
    tied = nn.Sequential(nn.Linear(4, 6), *choices, nn.Linear(6, 2))
    with pytest.raises(UserError, match="counts weights that two choices share, no more"):
        search(tied, data(0), data(1), settings=settings("parameters<=50%"))


def test_bounds_that_are_given_take_the_place_of_those_of_the_derived_network():
    """As for a space, whose delivered network is another one than the supernet's."""
    wider = nn.Sequential(nn.Linear(4, 6), *(one for one in model() if isinstance(one, Choice)), nn.Linear(6, 2000))
    bounds = bounds_on(DerivedNetwork(wider, torch.zeros(1, 4)), Budget(("flops<=25k",)), Argmax())
    result = search(model(), data(0), data(1), settings=settings("flops<=25k"), bounds=bounds)
    assert result.metrics[0]["expected_flops"] > 24_000
    with pytest.raises(UserError, match="below the smallest network"):
        bounds_on(DerivedNetwork(wider, torch.zeros(1, 4)), Budget(("flops<=10k",)), Argmax())
