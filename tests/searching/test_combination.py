"""Which parts go together: what could not work or would have no effect is refused, all the rest is taken."""

import pytest
import torch

from dnas import (
    AlphaAdam,
    Anchor,
    Argmax,
    BetaDecay,
    Dirichlet,
    DirichletPrior,
    Discretization,
    Entropy,
    Evolution,
    GumbelSoftmax,
    LimitedSkips,
    Linear,
    Mixture,
    OneStep,
    Penalty,
    Perturbation,
    RandomSampling,
    ReinMax,
    Relaxation,
    SearchSettings,
    Sigmoid,
    Softmax,
    Stage,
    Threshold,
    UniformPath,
    ZeroOne,
)

COMPETING = (Softmax(), GumbelSoftmax(), GumbelSoftmax(hard=False), ReinMax(), Dirichlet())
PENALTIES = (Anchor(), BetaDecay(), DirichletPrior(), Entropy(), ZeroOne())


class Own(Relaxation):
    """A user's, of which nothing is known."""

    def sample(self, alpha: torch.Tensor, progress: torch.Tensor, generator: torch.Generator | None) -> Mixture:
        raise AssertionError

    def expected(self, alpha: torch.Tensor, progress: torch.Tensor) -> Mixture:
        raise AssertionError


# Penalties


@pytest.mark.parametrize("relaxation", COMPETING)
def test_a_push_of_gates_is_refused_where_there_are_none(relaxation: Relaxation):
    what = f"ZeroOne pushes gates .* of {type(relaxation).__name__} .* have no gates: use the relaxation dnas.Sigmoid"
    with pytest.raises(ValueError, match=what):
        SearchSettings(relaxation=relaxation, penalties=(BetaDecay(), ZeroOne()))


@pytest.mark.parametrize("relaxation", [*COMPETING[:4], Sigmoid()])
@pytest.mark.parametrize("penalty", [DirichletPrior(), Anchor()])
def test_a_prior_of_a_distribution_is_refused_where_there_is_none(relaxation: Relaxation, penalty: Penalty):
    names = [type(part).__name__ for part in (penalty, relaxation)]
    what = f"{names[0]} acts on a Dirichlet .* {names[1]} draws from none: use .*dnas.Dirichlet"
    with pytest.raises(ValueError, match=what):
        SearchSettings(relaxation=relaxation, penalties=(penalty,))


def test_the_entropy_of_gates_is_that_of_none():
    with pytest.raises(ValueError, match=r"Entropy acts on softmax.*Sigmoid each .* use the penalty dnas.ZeroOne"):
        SearchSettings(relaxation=Sigmoid(), penalties=(Entropy(),))


@pytest.mark.parametrize(
    ("relaxation", "penalties"),
    [
        *((relaxation, (BetaDecay(), Entropy())) for relaxation in COMPETING),
        (Sigmoid(), (BetaDecay(), ZeroOne())),
        (Dirichlet(), (DirichletPrior(), Anchor(), BetaDecay(), Entropy())),
        (Own(), (Anchor(), BetaDecay(), DirichletPrior(), Entropy())),
    ],
)
def test_other_penalties_are_taken(relaxation: Relaxation, penalties: tuple[Penalty, ...]):
    assert SearchSettings(relaxation=relaxation, penalties=penalties).penalties == penalties


# Discretizations


@pytest.mark.parametrize("discretization", [Argmax(), Threshold(0.1), LimitedSkips()])
def test_alphas_that_are_not_trained_decide_nothing(discretization: Discretization):
    what = f"{type(discretization).__name__} reads the mixture, but UniformPath trains no alphas.* use dnas.Evolution"
    with pytest.raises(ValueError, match=what):
        SearchSettings(relaxation=UniformPath(), discretization=discretization)


@pytest.mark.parametrize("relaxation", COMPETING)
@pytest.mark.parametrize("rule", [Threshold(), Threshold(0.5), LimitedSkips(Threshold(0.85))])
def test_a_threshold_of_gates_is_refused_where_candidates_compete(relaxation: Relaxation, rule: Discretization):
    with pytest.raises(
        ValueError, match=r"^Threshold\(0\.\d+\) is for gates.* Use dnas.Argmax, .* threshold below 0.5"
    ):
        SearchSettings(relaxation=relaxation, discretization=rule)
    assert SearchSettings(relaxation=Sigmoid(), discretization=rule).discretization == rule


def test_a_low_threshold_goes_with_candidates_that_compete():
    assert SearchSettings(discretization=Threshold(0.49)).discretization == Threshold(0.49)


@pytest.mark.parametrize(
    "discretization", [Argmax(), Threshold(0.1), LimitedSkips(), Evolution(), RandomSampling(), Perturbation(0)]
)
def test_a_learning_rate_of_a_training_that_there_is_not_is_refused(discretization: Discretization):
    what = f"tuning_lr = 0.5 has no effect: {type(discretization).__name__} does not train .* dnas.Perturbation"
    with pytest.raises(ValueError, match=what):
        SearchSettings(discretization=discretization, tuning_lr=0.5)
    SearchSettings(discretization=discretization)
    SearchSettings(discretization=Perturbation(), tuning_lr=0.5)


# Settings of alphas that are not trained


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"penalties": (BetaDecay(),)}, "penalties"),
        ({"hypergradient": OneStep()}, "hypergradient"),
        ({"alphas": AlphaAdam(0.1)}, "alphas"),
        ({"weight_steps": 2}, "weight_steps"),
        ({"warmup_epochs": 2}, "warmup_epochs"),
        ({"warmup_epochs": 2, "alphas": AlphaAdam(0.1)}, "alphas and warmup_epochs"),
        ({"stages": (Stage(), Stage(warmup_epochs=3))}, "warmup_epochs"),
        ({"stages": (Stage(), Stage(num_candidates=2))}, "num_candidates of a stage"),
    ],
)
@pytest.mark.parametrize("discretization", [Evolution(), RandomSampling(), Perturbation()])
def test_a_setting_of_alphas_that_are_not_trained_is_refused(
    settings: dict, names: str, discretization: Discretization
):
    with pytest.raises(ValueError, match=f"^{names} would have no effect: UniformPath trains no alphas. Leave it out"):
        SearchSettings(relaxation=UniformPath(), discretization=discretization, **settings)
    SearchSettings(**settings)
    SearchSettings(relaxation=UniformPath(), discretization=discretization)


# A temperature


@pytest.mark.parametrize("temperature", [(10.0, 0.0), (-1.0, 1.0), (1.0, float("nan"))])
def test_a_temperature_of_0_or_below_is_refused(temperature: tuple[float, float]):
    with pytest.raises(ValueError, match=r"temperature, which must be above 0; got .* at the start and"):
        GumbelSoftmax(Linear(*temperature))
