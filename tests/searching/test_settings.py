"""Settings of a search: the defaults of DARTS, and what is refused."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn

from dnas.core.schedule import Constant, Linear
from dnas.method.discretization import Argmax
from dnas.method.hypergradient import FirstOrder
from dnas.method.relaxation import GumbelSoftmax, ReinMax, Relaxation, Softmax, UniformPath
from dnas.method.smoothing import AdversarialSmoothing, RandomSmoothing, Smoothing
from dnas.searching.settings import AlphaAdam, SearchSettings, WeightSGD


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2))]


def test_the_defaults_are_those_of_darts():
    settings = SearchSettings()
    assert settings.epochs == 50
    assert settings.warmup_epochs == 0
    assert (settings.relaxation, settings.hypergradient, settings.discretization) == (Softmax(), FirstOrder(), Argmax())
    assert [settings.weights.lr_at(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.025, 0.013, 0.001])
    assert (settings.weights.momentum, settings.weights.weight_decay, settings.weights.clip) == (0.9, 3e-4, 5.0)
    assert settings.alphas == AlphaAdam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)


def test_the_weights_optimizer_is_sgd_with_every_setting_in_its_place():
    optimizer = WeightSGD(lr=Linear(0.5, 0.1), momentum=0.8, weight_decay=0.01, nesterov=True).build(weights())
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    found = (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"], group["dampening"])
    assert found == (0.5, 0.8, 0.01, True, 0)


def test_the_alphas_optimizer_is_adam_with_every_setting_in_its_place():
    optimizer = AlphaAdam(lr=0.01, betas=(0.3, 0.7), weight_decay=0.2).build([torch.zeros(2, requires_grad=True)])
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.3, 0.7), 0.2)
    assert not group["decoupled_weight_decay"]


def test_the_learning_rate_is_a_plain_number():
    assert type(WeightSGD(lr=Constant(0.1)).lr_at(0.3)) is float
    assert WeightSGD(lr=Constant(0.1)).lr_at(0.3) == 0.1  # in double precision


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"warmup_epochs": -1}, "warmup_epochs must lie between 0 and epochs = 50; got -1"),
        ({"epochs": 2, "warmup_epochs": 3}, "warmup_epochs must lie between 0 and epochs = 2; got 3"),
        ({"epochs": 1, "warmup_epochs": 15}, "got 15. In a shorter search set it too .--search.warmup_epochs"),
        ({"log_every": 0}, "log_every must be at least 1; got 0"),
    ],
)
def test_a_setting_out_of_its_range_is_told_by_name(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SearchSettings(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightSGD(lr=Constant(-0.1)), "lr of the weights must be 0 or more; at the start it is -0.1"),
        (lambda: WeightSGD(lr=Linear(0.1, -0.1)), "lr of the weights must be 0 or more; at the end it is -0.1"),
        (lambda: WeightSGD(lr=Constant(math.inf)), "lr of the weights"),
        (lambda: WeightSGD(momentum=1.0), "momentum must be from 0 up to below 1; got 1.0"),
        (lambda: WeightSGD(momentum=math.nan), "momentum must be from 0 up to below 1; got nan"),
        (lambda: WeightSGD(weight_decay=-1e-4), "weight_decay of the weights must be 0 or more; got -0.0001"),
        (lambda: WeightSGD(momentum=0.0, nesterov=True), "nesterov is a form of momentum, which is 0"),
        (lambda: AlphaAdam(lr=-1.0), "lr of the alphas must be 0 or more; got -1.0"),
        (lambda: AlphaAdam(betas=(2.0, 3.0)), r"betas must be from 0 up to below 1; got \[2.0, 3.0\]"),
        (lambda: AlphaAdam(weight_decay=-1.0), "weight_decay of the alphas must be 0 or more; got -1.0"),
    ],
)
def test_what_no_optimizer_takes_is_told_by_name(make: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_learning_rates_and_decays_of_0_are_taken():
    assert WeightSGD(lr=Constant(0.0), momentum=0.0, weight_decay=0.0).lr_at(0.5) == 0.0
    assert AlphaAdam(lr=0.0, betas=(0.0, 0.0), weight_decay=0.0).lr == 0.0


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        SearchSettings().epochs = 3  # type: ignore[misc]


def test_settings_of_the_same_values_are_equal_and_hashable():
    assert SearchSettings(epochs=3) == SearchSettings(epochs=3)
    assert len({SearchSettings(), SearchSettings(), SearchSettings(seed=1)}) == 2


@pytest.mark.parametrize("smoothing", [RandomSmoothing(), AdversarialSmoothing()])
@pytest.mark.parametrize("relaxation", [GumbelSoftmax(), ReinMax(), UniformPath()])
def test_smoothing_is_refused_where_one_candidate_is_drawn(smoothing: Smoothing, relaxation: Relaxation):
    names = f"{type(smoothing).__name__} has no effect with {type(relaxation).__name__}"
    with pytest.raises(ValueError, match=f"{names}, which draws one candidate.*Use dnas.Softmax"):
        SearchSettings(smoothing=smoothing, relaxation=relaxation)


@pytest.mark.parametrize("relaxation", [Softmax(), GumbelSoftmax(hard=False), GumbelSoftmax(compute_all=True)])
def test_smoothing_goes_with_all_others(relaxation: Relaxation):
    state = torch.get_rng_state()
    assert SearchSettings(smoothing=RandomSmoothing(), relaxation=relaxation).relaxation == relaxation
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight_steps": 0}, "weight_steps must be at least 1; got 0"),
        ({"tuning_lr": 0.0}, "tuning_lr must be above 0; got 0"),
        ({"validate_every": -1}, "validate_every must be 0"),
        ({"log_every": 0}, "log_every must be at least 1; got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        SearchSettings(**given)
