"""Which weights a training ends with: the last ones, their means over the steps, or the best in validation."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import dnas
from dnas.core.run import Run
from dnas.system.display import Display
from dnas.task.measurement import Measured
from dnas.training.kept import KeptWeights

GENERATOR = torch.Generator().manual_seed(0)
TRAIN = [(torch.randn(8, 4, generator=GENERATOR), torch.randn(8, 1, generator=GENERATOR)) for _ in range(3)]
VALIDATION = [(torch.randn(8, 4, generator=GENERATOR), torch.randn(8, 1, generator=GENERATOR))]
# Steps so large that the loss goes up and down.
WILD = dnas.RetrainSettings(
    epochs=6, weights=dnas.WeightSGD(lr=dnas.Constant(0.5), momentum=0.5), keep_best=True, precision="float32"
)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


class _CrashAt(Display):
    def __init__(self, step: int):
        self.step = step

    def update(self, phase, done, total, scalars) -> None:
        if done == self.step:
            raise RuntimeError("crash")

    def say(self, text: str) -> None: ...


def test_the_best_epoch_is_kept_also_where_the_training_was_stopped(tmp_path):
    run, task = Run(tmp_path / "whole"), dnas.Regression()
    network = dnas.retrain(linear(), TRAIN, task=task, settings=WILD, run=run, validation=VALIDATION)
    values = [row["validation_mse"] for row in run.metrics() if row["phase"] == "epoch"]
    best = values.index(min(values)) + 1
    assert best < 6
    assert dnas.evaluate(network, VALIDATION, task=task).score.value == min(values)
    last = dnas.retrain(linear(), TRAIN, task=task, settings=replace(WILD, epochs=best, keep_best=False))
    assert torch.equal(network.weight, last.weight)

    stopped = Run(tmp_path / "stopped")
    with pytest.raises(RuntimeError, match="crash"):
        dnas.retrain(
            linear(),
            TRAIN,
            task=task,
            settings=WILD,
            run=stopped,
            validation=VALIDATION,
            display=_CrashAt(3 * best + 2),
        )
    again = dnas.retrain(nn.Linear(4, 1), TRAIN, task=task, settings=WILD, run=stopped, validation=VALIDATION)
    assert torch.equal(again.weight, network.weight)
    assert torch.equal(torch.load(stopped.weights_path, weights_only=True)["weight"], network.weight)


def test_the_best_epoch_is_refused_without_validation_data():
    with pytest.raises(dnas.UserError, match="The best epoch is the one that is best on validation data"):
        dnas.retrain(linear(), TRAIN, task=dnas.Regression(), settings=WILD)


@pytest.mark.parametrize(("better", "values"), [("lower", [3.0, 2.0, 1.0, 2.5, 4.0]), ("higher", [3, 4, 5, 4, 2.5])])
def test_weights_are_averaged_from_the_epoch_in_which_validation_stalls(better, values):
    # The last value is the first that is worse than the best of all but the 2 before it: 3, and in the other row 3.
    network = linear()
    kept = KeptWeights(network, list(network.parameters()), best=False, average_after=2)
    for value in values:
        assert kept.averaged_from is None
        measured = Measured(value, None, better)
        kept.epoch_measured(measured)
        kept.epoch_ended(measured)
    assert kept.averaged_from == len(values) + 1
    steps = torch.randn(5, 1, 4, generator=GENERATOR)
    for weight in steps:
        network.weight.data.copy_(weight)
        kept.step_taken()
    with kept.in_network():
        assert_close(network.weight.data, steps[1:].mean(0))  # as torch.optim.ASGD, which leaves out the first step
    assert torch.equal(network.weight.data, steps[-1])
    kept.load_final()
    assert_close(network.weight.data, steps[1:].mean(0))


def test_averaged_weights_are_refused_beside_running_statistics():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(dnas.UserError, match="1 has running statistics, which would not fit averaged weights"):
        KeptWeights(network, list(network.parameters()), best=False, average_after=1)


def test_a_checkpoint_from_before_there_was_a_choice_goes_on(tmp_path):
    run, settings = Run(tmp_path), replace(WILD, keep_best=False)
    whole = dnas.retrain(linear(), TRAIN, task=dnas.Regression(), settings=settings)
    with pytest.raises(RuntimeError, match="crash"):
        dnas.retrain(linear(), TRAIN, task=dnas.Regression(), settings=settings, run=run, display=_CrashAt(7))
    state = run.load_checkpoint("last")
    assert "keep_best" not in state["settings"]
    run.save_checkpoint("last", {k: v for k, v in state.items() if k not in ("kept", "carry", "conditions")})
    again = dnas.retrain(nn.Linear(4, 1), TRAIN, task=dnas.Regression(), settings=settings, run=run)
    assert torch.equal(again.weight, whole.weight)
