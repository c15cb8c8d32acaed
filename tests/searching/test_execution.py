"""How steps are carried out: recorded steps are the usual ones, and precision changes what it says."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnas import (
    AlphaAdam,
    Batch,
    BetaDecay,
    Choice,
    Dirichlet,
    ExactProduct,
    FiniteDifference,
    GumbelSoftmax,
    Linear,
    Neumann,
    OneStep,
    SearchSettings,
    Supernet,
    Unrolled,
    WeightSGD,
)
from dnas.searching.execution import Stepper
from tests.support.method import TRAIN, VAL, new_supernet
from tests.support.replay import Replayed

EPOCHS, PER_EPOCH = 4, 3


@dataclass(frozen=True)
class AlphaSGD(AlphaAdam):
    """Adam counts its steps on the host except on a GPU, with `capturable`, which its CPU form refuses."""

    def build(self, alphas: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(alphas, lr=0.05, momentum=0.5)


RATES = WeightSGD(lr=Linear(0.1, 0.02))


def settings_with(**settings: Any) -> SearchSettings:
    return SearchSettings(alphas=AlphaSGD(), **settings)


RECORDED = {
    "first order": settings_with(weights=RATES),
    "finite difference": settings_with(weights=RATES, hypergradient=OneStep(FiniteDifference())),
    "exact product": settings_with(weights=RATES, hypergradient=OneStep(ExactProduct())),
    "unrolled": settings_with(weights=RATES, hypergradient=Unrolled(2)),
    "Neumann": settings_with(weights=RATES, hypergradient=Neumann(terms=3, rate=0.1)),
    "a penalty that grows": settings_with(weights=RATES, penalties=(BetaDecay(Linear(0.0, 5.0)),)),
    "one level": settings_with(weights=RATES, one_level=True),
    "Nesterov": settings_with(weights=replace(RATES, nesterov=True)),
}


def state_of(stepper: Stepper) -> list[Tensor]:
    return [tensor for group in stepper._state() for tensor in group]


def steps(settings: SearchSettings, *, recorded: bool) -> tuple[Stepper, list[str], list[dict[str, float]]]:
    """Twelve steps of four epochs, each with its own learning rate."""
    supernet, said = new_supernet(edge_weights=True), []
    recorder = Replayed(lambda: state_of(stepper), lambda: stepper._generators()) if recorded else None
    stepper = Stepper(supernet, settings, say=said.append, recorder=recorder)
    scalars = []
    for step in range(EPOCHS * PER_EPOCH):
        for group in stepper.weight_optimizer.param_groups:
            group["lr"] = settings.weights.lr_at(step // PER_EPOCH / EPOCHS)
        train = [TRAIN[(step + ahead) % 3] for ahead in range(max(settings.hypergradient.num_train_batches, 1))]
        result = stepper.take(train, VAL[step % 3], step / (EPOCHS * PER_EPOCH))
        scalars.append({name: float(value) for name, value in result.scalars.items()})
    return stepper, said, scalars


@pytest.mark.parametrize("settings", RECORDED.values(), ids=RECORDED)
def test_recorded_steps_are_the_usual_ones(settings: SearchSettings):
    usual, _, expected = steps(settings, recorded=False)
    recorded, said, found = steps(settings, recorded=True)
    assert said == []
    # Three steps as usual, then all are replayed; a record for each learning rate from there on.
    assert recorded.recorder.num_replays == EPOCHS * PER_EPOCH - 3  # type: ignore[union-attr]
    assert recorded._capture is not None
    assert recorded._capture.num_records == EPOCHS - 1
    for mine, theirs in zip(state_of(recorded), state_of(usual), strict=True):
        assert torch.equal(mine, theirs)
    assert found == expected


def test_what_a_step_reads_on_the_host_is_frozen_in_a_record():
    """The recorder of these tests would not be worth much if it looked at the learning rate again."""
    settings = settings_with(weights=RATES)
    stepper = Stepper(new_supernet(), settings, say=lambda text: None, recorder=Replayed(lambda: state_of(stepper)))
    stepper._baked = lambda moves_alphas: "always the same"  # type: ignore[method-assign]
    usual = Stepper(new_supernet(), settings, say=lambda text: None)
    for step in range(6):
        for each in (stepper, usual):
            each.weight_optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            each.take([TRAIN[0]], VAL[0], 0.0)
    assert not torch.equal(state_of(stepper)[0], state_of(usual)[0])


def test_steps_of_another_batch_size_are_taken_as_usual_between_replays():
    settings = settings_with(weights=RATES)
    short = Batch(TRAIN[0].inputs[:2], TRAIN[0].targets[:2])
    both = []
    for recorded in (True, False):
        supernet = new_supernet()
        recorder = Replayed(lambda: state_of(stepper)) if recorded else None  # noqa: B023
        stepper = Stepper(supernet, settings, say=lambda text: None, recorder=recorder)
        for step in range(10):
            stepper.take([short if step % 4 == 3 else TRAIN[step % 3]], VAL[step % 3], step / 10)
        both.append(state_of(stepper))
        if recorded:
            assert recorder is not None
            assert recorder.num_replays == 10 - 2 - 3
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*both, strict=True))


def test_the_relaxations_own_draws_go_on_from_replay_to_replay():
    """Draws of a generator are operators too: each replay makes new ones."""
    for relaxation in (GumbelSoftmax(temperature=Linear(5.0, 0.1), hard=False), Dirichlet()):
        settings = settings_with(relaxation=relaxation, weights=RATES)
        usual, _, _ = steps(settings, recorded=False)
        recorded, said, _ = steps(settings, recorded=True)
        assert said == []
        assert recorded.recorder.num_replays > 0  # type: ignore[union-attr]
        for mine, theirs in zip(state_of(recorded), state_of(usual), strict=True):
            assert torch.equal(mine, theirs)


def drops_out() -> Supernet:
    torch.manual_seed(0)
    model = nn.Sequential(Choice("op", {"a": nn.Linear(4, 4), "b": nn.Identity()}), nn.Dropout(0.5))
    return Supernet(model.double(), nn.functional.mse_loss)


@pytest.mark.parametrize(
    ("supernet", "settings", "why"),
    [
        (new_supernet, settings_with(relaxation=GumbelSoftmax()), "GumbelSoftmax decides on the host"),
        (drops_out, settings_with(), "draws random numbers"),
    ],
)
def test_what_cannot_be_recorded_is_said_once_and_steps_are_taken_as_usual(supernet, settings, why):
    said: list[str] = []
    recorder = Replayed(lambda: state_of(stepper))
    stepper = Stepper(supernet(), settings, say=said.append, recorder=recorder)
    for step in range(6):
        stepper.take([TRAIN[step % 3]], VAL[step % 3], 0.0)
    assert recorder.num_replays == 0
    (line,) = said
    assert why in line


def test_steps_that_somebody_watches_are_taken_as_usual():
    said: list[str] = []
    recorder = Replayed(lambda: state_of(stepper))
    stepper = Stepper(new_supernet(), settings_with(), say=said.append, watched=True, recorder=recorder)
    for step in range(6):
        stepper.take([TRAIN[step % 3]], VAL[step % 3], 0.0)
    assert recorder.num_replays == 0
    (line,) = said
    assert "an observer looks at the gradients after every step" in line


def test_capture_can_be_switched_off():
    recorder = Replayed(lambda: state_of(stepper))
    stepper = Stepper(new_supernet(), settings_with(capture=False), say=lambda text: None, recorder=recorder)
    for step in range(6):
        stepper.take([TRAIN[step % 3]], VAL[step % 3], 0.0)
    assert recorder.num_replays == 0


class Waiting(nn.Module):
    """Reads a value on the host in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.detach().abs().max().clamp(min=1.0, max=1.0))


def test_a_step_that_waits_for_the_device_is_taken_as_usual_from_there_on():
    said: list[str] = []
    torch.manual_seed(0)
    model = nn.Sequential(Choice("op", {"a": nn.Linear(4, 4), "b": nn.Identity()}), Waiting()).double()
    recorder = Replayed(lambda: state_of(stepper))
    stepper = Stepper(Supernet(model, nn.functional.mse_loss), settings_with(), say=said.append, recorder=recorder)
    for step in range(6):
        stepper.take([TRAIN[step % 3]], VAL[step % 3], 0.0)
    (line,) = said
    assert "cannot be recorded" in line
    assert "waits for the device" in line


class Counting(nn.Module):
    """Another factor at every call, which a record does not follow."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_a_replay_that_differs_from_the_usual_step_is_undone_and_said():
    said: list[str] = []

    def new() -> Supernet:
        torch.manual_seed(0)
        model = nn.Sequential(Choice("op", {"a": nn.Linear(4, 4), "b": nn.Identity()}), Counting()).double()
        return Supernet(model, nn.functional.mse_loss)

    recorder = Replayed(lambda: state_of(stepper))
    stepper = Stepper(new(), settings_with(), say=said.append, recorder=recorder)
    for step in range(6):
        stepper.take([TRAIN[step % 3]], VAL[step % 3], 0.0)
    (line,) = said
    assert "replayed it differs" in line
    assert recorder.num_replays == 1


# --- Precision --------------------------------------------------------------------------------------------------------


def test_bf16_computes_the_step_in_bfloat16_and_keeps_weights_and_alphas_in_float32():
    seen: list[torch.dtype] = []
    torch.manual_seed(0)
    linear = nn.Linear(4, 4)
    linear.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    supernet = Supernet(nn.Sequential(Choice("op", {"a": linear, "b": nn.Identity()})), nn.functional.mse_loss)
    stepper = Stepper(supernet, settings_with(precision="bf16"), say=lambda text: None)
    batch = Batch(torch.randn(5, 4), torch.randn(5, 4))
    result = stepper.take([batch], batch, 0.0)
    assert set(seen) == {torch.bfloat16}
    assert {tensor.dtype for tensor in state_of(stepper)} == {torch.float32}
    assert float(result.loss) > 0


def test_weights_that_moved_within_a_step_are_seen_by_the_passes_that_follow():
    """Autocast keeps copies of weights, which would be those from before the step."""
    batch = Batch(torch.full((1, 1), 1.0), torch.full((1, 1), 0.0))
    supernet = Supernet(
        nn.Sequential(Choice("op", {"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1)})), nn.functional.mse_loss
    )
    settings = settings_with(precision="bf16", weights=WeightSGD(lr=Linear(0.5, 0.5), momentum=0.0, clip=None))
    stepper = Stepper(supernet, settings, say=lambda text: None)
    losses = [float(stepper.take([batch], batch, 0.0).loss) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_finite_difference_is_refused_in_bf16_when_the_settings_are_made():
    with pytest.raises(ValueError, match=r"bf16 does not go with a finite difference.*ExactProduct"):
        settings_with(precision="bf16", hypergradient=OneStep(FiniteDifference()))
