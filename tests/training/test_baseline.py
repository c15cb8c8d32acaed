"""The random baseline: what its networks share, and that a stop changes nothing."""

import os
import signal
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.batch import Batch
from dnas.core.run import Run
from dnas.data.iterable_batches import IterableBatches
from dnas.system.display import Display, Silent
from dnas.system.interrupt import Interrupted
from dnas.system.random_state import seeded
from dnas.task import Regression
from dnas.training.baseline import Training, num_used_parameters, train_beside, train_random_baseline
from dnas.training.evaluate import evaluate
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
SETTINGS = RetrainSettings(epochs=2, log_every=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are only slowed down by more, by far where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(number: int) -> Architecture:
    return Architecture({"act": list(ACTIVATIONS)[number % 3]})


def build(architecture: Architecture) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), ACTIVATIONS[str(architecture.decisions["act"])](), nn.Linear(5, 2))


def batches(seed: int, count: int) -> IterableBatches:
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(10, 4, generator=generator) for _ in range(count)]
    return IterableBatches([(x, (x.sum(1) > 0).long()) for x in inputs])


def training(settings: RetrainSettings = SETTINGS, num_train: int = 3) -> Training:
    return Training(build, batches(0, num_train), batches(1, 2), batches(2, 2), settings)


def without_times(rows: list) -> list:
    return [{name: value for name, value in row.to_data().items() if name != "seconds"} for row in rows]


class SignalAt(Display):
    """Ctrl-C after a number of updates."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
        if done == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def say(self, text: str) -> None: ...


def test_a_row_holds_what_retraining_and_evaluation_give(tmp_path):
    row = training().row("found", draw(1), run=Run(tmp_path))
    with seeded(SETTINGS.seed):
        network = build(draw(1))
    retrain(network, batches(0, 3), settings=SETTINGS)
    assert (row.name, row.architecture, row.parameters) == ("found", draw(1), 37)
    assert row.validation == evaluate(network, batches(1, 2)).top1
    assert row.test == evaluate(network, batches(2, 2)).top1
    assert row.seconds == Run(tmp_path).load_json("retrain")["seconds"]
    assert Run(tmp_path).load_architecture() == draw(1)


def test_all_networks_start_from_the_same_seed_and_leave_the_global_random_state_alone(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    rows = train_random_baseline(lambda number: draw(0), training(), run=Run(tmp_path), num=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert rows[0].test == rows[1].test
    one, other = (Run(tmp_path / "baseline" / name).load_checkpoint("last")["network"] for name in ("000", "001"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_call_gives_the_same_rows(tmp_path):
    rows = [train_random_baseline(draw, training(), run=Run(tmp_path / name), num=3) for name in ("a", "b")]
    assert without_times(rows[0]) == without_times(rows[1])
    assert [row.architecture for row in rows[0]] == [draw(0), draw(1), draw(2)]


def test_finished_networks_are_not_trained_again_and_more_can_be_added(tmp_path):
    first = train_random_baseline(draw, training(), run=Run(tmp_path), num=2)
    seen = []

    def building(architecture: Architecture) -> nn.Module:
        seen.append(architecture)
        return build(architecture)

    again = Training(building, batches(0, 3), batches(1, 2), batches(2, 2), SETTINGS)
    rows = train_random_baseline(draw, again, run=Run(tmp_path), num=3)
    assert rows[:2] == first  # times included
    assert seen == [draw(2)]
    assert train_random_baseline(draw, again, run=Run(tmp_path), num=1) == first[:1]


@pytest.mark.parametrize("step", [1, 6, 8, 12])  # of 3 networks with 6 steps each
def test_a_stopped_baseline_goes_on_to_the_same_rows(tmp_path, step: int):
    expected = train_random_baseline(draw, training(), run=Run(tmp_path / "whole"), num=3)
    parts = Run(tmp_path / "parts")
    with pytest.raises(Interrupted, match="baseline"):
        train_random_baseline(draw, training(), run=parts, num=3, display=SignalAt(step))
    rows = train_random_baseline(draw, training(), run=parts, num=3)
    assert without_times(rows) == without_times(expected)


def test_one_bar_shows_all_trainings(tmp_path):
    class Seen(Silent):
        def __init__(self) -> None:
            self.calls: list[tuple[str, int, int]] = []

        def update(self, phase: str, done: int, total: int, scalars: Mapping[str, float]) -> None:
            self.calls.append((phase, done, total))

    seen = Seen()
    train_random_baseline(draw, training(), run=Run(tmp_path), num=2, display=seen)
    assert seen.calls == [("baseline", step, 12) for step in range(1, 13)]


def test_rows_of_other_settings_or_data_are_refused(tmp_path):
    train_random_baseline(draw, training(), run=Run(tmp_path), num=1)
    with pytest.raises(ValueError, match="trained alike"):
        train_random_baseline(draw, training(RetrainSettings(epochs=3)), run=Run(tmp_path), num=1)
    with pytest.raises(ValueError, match="trained alike"):
        train_random_baseline(draw, training(num_train=4), run=Run(tmp_path), num=1)


def test_rows_of_other_draws_are_refused(tmp_path):
    train_random_baseline(draw, training(), run=Run(tmp_path), num=2)
    with pytest.raises(ValueError, match="row 0, holds another architecture than draw 0"):
        train_random_baseline(lambda number: draw(number + 1), training(), run=Run(tmp_path), num=2)


def test_damaged_results_are_told(tmp_path):
    Run(tmp_path / "baseline").save_json("results", {"rows": 3})
    with pytest.raises(ValueError, match="expected an object with a list of rows"):
        train_random_baseline(draw, training(), run=Run(tmp_path), num=1)


def test_no_random_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1; got 0"):
        train_random_baseline(draw, training(), run=Run(tmp_path), num=0)


def test_what_only_training_uses_does_not_count_among_the_parameters():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.main, self.side = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(3, 7)
            self.body.bias.requires_grad_(False)  # frozen, and used

        def forward(self, x: Tensor):
            x = self.body(x)
            return (self.main(x), self.side(x)) if self.training else self.main(x)

    network = TwoHeads()
    assert num_used_parameters(network, Batch(torch.zeros(2, 4), None)) == 4 * 3 + 3 + 3 * 2 + 2
    assert network.main.weight.grad is None


def test_a_regression_is_compared_by_its_mean_squared_error(tmp_path):
    generator = torch.Generator().manual_seed(0)
    data = IterableBatches([(x, x.sum(1, keepdim=True)) for x in torch.randn(3, 10, 4, generator=generator)])

    def regressor(architecture: Architecture) -> nn.Module:
        return nn.Sequential(ACTIVATIONS[str(architecture.decisions["act"])](), nn.Linear(4, 1))

    task = Regression()
    compared = Training(regressor, data, data, data, SETTINGS, task)
    (row, *_) = train_random_baseline(draw, compared, run=Run(tmp_path), num=2)
    with seeded(SETTINGS.seed):
        network = regressor(draw(0))
    retrain(network, data, task=task, settings=SETTINGS)
    score = evaluate(network, data, task=task).score
    assert (row.metric, row.better, row.test, row.test_interval) == ("mse", "lower", score.value, score.interval)
    with pytest.raises(ValueError, match="trained alike"):
        train_random_baseline(draw, Training(regressor, data, data, data, SETTINGS), run=Run(tmp_path), num=2)


# Named architectures beside the random ones


def test_named_architectures_are_trained_like_random_ones(tmp_path):
    random = train_random_baseline(draw, training(), run=Run(tmp_path), num=2)
    beside = train_beside({"V1": draw(1), "V0": draw(0)}, training(), run=Run(tmp_path))
    assert [row.name for row in beside] == ["V1", "V0"]
    strip = [{**row, "name": ""} for row in without_times(random)]
    assert [{**row, "name": ""} for row in without_times(beside)] == strip[::-1]
    again = train_beside({"V0": draw(0)}, training(), run=Run(tmp_path))
    assert again == [beside[1]]  # times included: it was not trained again


def test_a_name_that_stands_for_another_architecture_now_is_refused(tmp_path):
    train_beside({"V": draw(0)}, training(), run=Run(tmp_path))
    with pytest.raises(ValueError, match="holds another architecture than the V that is asked for"):
        train_beside({"V": draw(1)}, training(), run=Run(tmp_path))
