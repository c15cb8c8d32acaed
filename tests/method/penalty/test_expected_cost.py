"""Costs that are measured on the supernet are what one would write by hand, as a share of what equal weights cost."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dnas import (
    Batch,
    BetaDecay,
    Choice,
    ExpectedCost,
    NasBench201Space,
    Penalty,
    SearchResult,
    SearchSettings,
    Supernet,
    search,
)
from dnas.core.mixture import Mixture, uniform
from dnas.cost import candidate_costs, candidate_parameters
from dnas.method.penalty.expected_cost import Unit
from dnas.searching.settings import AlphaAdam
from dnas.system.plain_data import check_only_own_parts, to_plain

LOSS = torch.tensor(1.7, dtype=torch.float64)


def model() -> nn.Module:
    """Two choices of convolutions of different size and a skip connection."""
    torch.manual_seed(0)

    def choice(name: str, channels: int) -> Choice:
        candidates = {f"{k}x{k}": nn.Conv2d(channels, channels, k, padding=k // 2, bias=False) for k in (1, 3)}
        return Choice(name, {**candidates, "skip": nn.Identity()})

    return nn.Sequential(
        choice("a", 3), nn.Conv2d(3, 6, 1), choice("b", 6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    ).double()


def batches(seed: int, size: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(torch.randn(size, 3, 5, 5, generator=generator, dtype=torch.float64), torch.arange(size) % 2)
        for _ in range(3)
    ]


SETTINGS = SearchSettings(epochs=1, validate_every=0, alphas=AlphaAdam(lr=0.1))
UNITS = {
    "flops": candidate_costs(model(), batches(0)[0].inputs),
    "parameters": candidate_parameters(model()),
}


def searched(*penalties: Penalty, one_level: bool = False, size: int = 4) -> SearchResult:
    settings = replace(SETTINGS, penalties=penalties, one_level=one_level)
    return search(Supernet(model()), batches(1, size), batches(2, size), settings=settings)


def assert_same_alphas(found: SearchResult, expected: SearchResult) -> None:
    for name, alpha in expected.supernet.alphas.items():
        assert_close(found.supernet.alphas[name], alpha, rtol=1e-10, atol=1e-12)


def of_equal_weights(unit: str) -> float:
    return sum(torch.tensor(costs).mean().item() for costs in UNITS[unit].values())


@pytest.mark.parametrize("only_above", [False, True])
@pytest.mark.parametrize("one_level", [False, True])
@pytest.mark.parametrize("unit", ["flops", "parameters"])
def test_a_search_measures_what_one_would_write_by_hand(unit, one_level: bool, only_above: bool):
    by_hand = ExpectedCost(UNITS[unit], target=0.5 * of_equal_weights(unit), exponent=0.3, only_above=only_above)
    named = ExpectedCost(unit, target=0.5, exponent=0.3, only_above=only_above)
    found = searched(named, one_level=one_level)
    assert_same_alphas(found, searched(by_hand, one_level=one_level))
    for other in ((), (replace(named, exponent=0.9),)):
        without = searched(*other, one_level=one_level)
        assert any(
            not torch.allclose(found.supernet.alphas[name], alpha, rtol=1e-6)
            for name, alpha in without.supernet.alphas.items()
        )


def test_flops_and_parameters_are_different_prices():
    assert {unit: of_equal_weights(unit) for unit in UNITS} == {"flops": 4 * 2 * 25 * 150.0, "parameters": 150.0}
    assert ExpectedCost("flops", 0.5).measured(UNITS.__getitem__) != ExpectedCost("parameters", 0.5).measured(
        lambda unit: {**UNITS["parameters"], "b": [0.0, 1.0, 0.0]}
    )


def test_what_is_measured_is_a_share_of_equal_weights_whatever_the_batch():
    found = [
        ExpectedCost("flops", target=0.5).measured(lambda unit, n=n: candidate_costs(model(), batches(0, n)[0].inputs))
        for n in (1, 3, 7)
    ]
    assert found[0] == found[1] == found[2]
    equal = {name: uniform((3,), LOSS) for name in "ab"}
    assert_close(replace(found[0], target=1.0)(LOSS, {}, equal, LOSS), LOSS, rtol=1e-14, atol=0)
    assert_close(found[0](LOSS, {}, equal, LOSS), LOSS * 2**0.07, rtol=1e-14, atol=0)


def test_costs_of_cells_are_measured_edge_by_edge():
    space_model = NasBench201Space().model(channels=2, cells=1, num_classes=2)
    flops = candidate_costs(space_model, torch.zeros(2, 3, 4, 4))
    measured = ExpectedCost("flops", target=1.0).measured(lambda unit: flops)
    assert isinstance(measured.costs, dict)
    shares = torch.tensor(measured.costs["cell"], dtype=torch.float64)
    assert_close(shares, torch.tensor(flops["cell"], dtype=torch.float64) / torch.tensor(flops["cell"]).mean(1).sum())
    assert shares.mean(1).sum().item() == pytest.approx(1)


def test_only_above_leaves_the_loss_below_the_target_and_pays_over_it():
    values = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)  # C = 5

    def paid(target: float) -> torch.Tensor:
        penalty = ExpectedCost({"a": [2.0, 6.0]}, target=target, exponent=0.5, only_above=True)
        return penalty(LOSS, {}, {"a": Mixture(values)}, LOSS)

    assert_close(paid(4.0), LOSS * (5 / 4) ** 0.5, rtol=1e-14, atol=0)
    assert_close(paid(5.5), LOSS, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(paid(5.5), values)
    assert not gradient.any()


def test_where_nothing_costs_anything_any_more_the_gradient_is_finite():
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    value = ExpectedCost({"a": [0.0, 6.0]}, target=4.0)(LOSS, {}, {"a": Mixture(values)}, LOSS)
    (gradient,) = torch.autograd.grad(value, values)
    assert gradient.isfinite().all()


def test_other_penalties_have_nothing_to_measure():
    own = ExpectedCost({"a": [1.0, 2.0, 0.0]}, target=1.0)
    assert own.measured(UNITS.__getitem__) is own
    assert BetaDecay().measured(UNITS.__getitem__) == BetaDecay()


def test_a_unit_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="a mapping or one of 'flops', 'parameters'; got the text 'milliseconds'"):
        ExpectedCost("milliseconds", target=0.5)  # type: ignore[arg-type]


def test_a_loop_of_ones_own_is_told_to_measure():
    with pytest.raises(ValueError, match=r"costs in flops have not been measured.*candidate_costs"):
        ExpectedCost("flops", target=0.5)(LOSS, {}, {}, LOSS)


def test_nothing_to_pay_for_is_named():
    free = nn.Sequential(Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(3, 2)).double()
    data = [Batch(torch.randn(2, 3, dtype=torch.float64), torch.tensor([0, 1]))]
    settings = replace(SETTINGS, penalties=(ExpectedCost("parameters", target=0.5),))
    with pytest.raises(ValueError, match="No candidate of this supernet has parameters"):
        search(Supernet(free), data, data, settings=settings)


def test_a_run_folder_may_name_a_unit_and_no_other_word():
    def plain(costs: str) -> Any:
        data = to_plain(SearchSettings(penalties=(ExpectedCost("flops", target=0.5),)))
        data["penalties"][0]["init_args"]["costs"] = costs
        return data

    for unit in get_args(Unit):
        check_only_own_parts(plain(unit), "config.yaml", "search")
    with pytest.raises(ValueError, match=r"penalties\[0\].init_args.costs is 'evil'.*--trust"):
        check_only_own_parts(plain("evil"), "config.yaml", "search")
