"""Search, retraining and evaluation of six tasks, each with a model of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnas
from dnas.core.run import Run
from dnas.data import ContinuedBatches, TextBatches
from dnas.system.errors import UserError
from dnas.task import Task

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def labels(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=GENERATOR)


class TwoHeads(nn.Module):
    """A dict in, a dict out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = dnas.Choice("body", {"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.where, self.what = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        x = self.body(x * scale)
        return {"where": self.where(x), "what": self.what(x)}


def two_losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "where": nn.functional.mse_loss(outputs["where"], targets["where"]),
        "what": nn.functional.cross_entropy(outputs["what"], targets["what"]),
    }


def what_is_right(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return (outputs["what"].argmax(1) == targets["what"]).double()


def kernels(channels: int, dims: int) -> dict[str, nn.Module]:
    layer = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
    return {f"k{k}": layer(channels, 4, k, padding=k // 2) for k in (1, 3)}


@dataclass(frozen=True)
class Case:
    """A model with a choice, a task, and how one batch of 8 samples is made."""

    model: Callable[[], nn.Module]
    task: Task
    batch: Callable[[], tuple[Any, Any]]


def signals() -> nn.Module:
    return nn.Sequential(
        dnas.Choice("kernel", kernels(6, 1)), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10, 1)
    )


def masks() -> tuple[Tensor, Tensor]:
    target = labels(3, 8, 4, 6)
    target[:, 0] = 255
    return random(8, 2, 4, 6), target


def dicts() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return {"x": random(8, 4), "scale": random(8, 1)}, {"where": random(8, 2), "what": labels(3, 8)}


CASES = {
    "regression of signals": Case(signals, dnas.Regression(), lambda: (random(8, 6, 10), random(8, 1))),
    "segmentation": Case(
        lambda: nn.Sequential(dnas.Choice("kernel", kernels(2, 2)), nn.ReLU(), nn.Conv2d(4, 3, 1)),
        dnas.Segmentation(ignored=255),
        masks,
    ),
    "two losses": Case(
        TwoHeads, dnas.OwnTask(two_losses, {"right": dnas.Metric(what_is_right, better="higher")}), dicts
    ),
    "many labels": Case(
        lambda: nn.Sequential(dnas.Choice("act", [nn.ReLU(), nn.Tanh()]), nn.Linear(5, 4)),
        dnas.MultiLabel(),
        lambda: (random(8, 5), labels(2, 8, 4)),
    ),
    "classification": Case(
        lambda: nn.Sequential(dnas.Choice("act", [nn.ReLU(), nn.Tanh()]), nn.Linear(5, 4)),
        dnas.Classification(balanced=True),
        lambda: (random(8, 5), labels(4, 8)),
    ),
    "language": Case(
        lambda: nn.Sequential(nn.Embedding(6, 4), dnas.Choice("act", [nn.ReLU(), nn.Tanh()]), nn.Linear(4, 6)),
        dnas.LanguageModelling(),
        lambda: (labels(6, 8, 5), labels(6, 8, 5)),
    ),
}
SEARCH = dnas.SearchSettings(epochs=2, warmup_epochs=0)
RETRAIN = dnas.RetrainSettings(epochs=3, auxiliary=False, weights=dnas.WeightSGD(lr=dnas.Constant(0.05)))


@pytest.mark.parametrize("name", CASES)
def test_a_task_is_searched_retrained_and_evaluated(name, tmp_path):
    case = CASES[name]
    torch.manual_seed(0)
    train, val = [case.batch() for _ in range(3)], [case.batch() for _ in range(2)]
    found = dnas.search(case.model(), train, val, task=case.task, settings=SEARCH)
    deciding = dnas.evaluate(found.supernet.model, val, task=case.task).measurement.deciding
    assert all(f"validation_{deciding}" in row for row in found.metrics)
    network = dnas.derive(found.supernet.model, found.architecture)
    before = dnas.evaluate(network, train, task=case.task).loss
    dnas.retrain(network, train, task=case.task, settings=RETRAIN, run=Run(tmp_path), validation=val)
    after = dnas.evaluate(network, train, task=case.task)
    assert after.loss < before
    (*_, row) = [row for row in Run(tmp_path).metrics() if row["phase"] == "epoch"]
    assert row["validation_loss"] == pytest.approx(dnas.evaluate(network, val, task=case.task).loss, rel=1e-5)
    assert row[f"validation_{deciding}"] == pytest.approx(
        dnas.evaluate(network, val, task=case.task).score.value, rel=1e-5
    )


@pytest.mark.parametrize("name", CASES)
def test_what_was_found_is_compared_saved_loaded_and_exported(name, tmp_path):
    case = CASES[name]
    torch.manual_seed(0)
    data, run = [case.batch() for _ in range(2)], Run(tmp_path / "run")
    found = dnas.search(case.model(), data, data, task=case.task, settings=SEARCH, run=run)
    compared = dnas.baseline(case.model, data, data, data, run=run, task=case.task, settings=RETRAIN, num=1)
    network = dnas.load(run.path, model=case.model)
    measured = dnas.evaluate(network, data, task=case.task).measurement
    assert (measured.deciding, measured.score.value) == (compared.comparison.metric, compared.comparison.found.test)
    dnas.save(network, found.architecture, tmp_path / "model")
    loaded = dnas.load(tmp_path / "model", model=case.model)
    assert dnas.evaluate(loaded, data, task=case.task).measurement == measured
    files = dnas.export(network, data[0][0], tmp_path / "export", architecture=found.architecture)
    assert [file.format for file in files] == ["onnx", "torch", "state_dict", "safetensors"]
    assert dnas.evaluate(dnas.load(tmp_path / "export", model=case.model), data, task=case.task).measurement == measured


@pytest.mark.parametrize("name", CASES)
def test_a_training_goes_on_with_the_same_task_and_refuses_another(name, tmp_path):
    case = CASES[name]
    torch.manual_seed(0)
    network, data = dnas.derive(case.model(), only(case.model())), [case.batch()]
    dnas.retrain(network, data, task=case.task, settings=RETRAIN, run=Run(tmp_path))
    trained = {key: value.clone() for key, value in network.state_dict().items()}
    dnas.retrain(network, data, task=case.task, settings=RETRAIN, run=Run(tmp_path))
    assert all(torch.equal(network.state_dict()[key], value) for key, value in trained.items())
    with pytest.raises(UserError, match="task"):
        dnas.retrain(network, data, task=dnas.OwnTask(nn.functional.mse_loss), settings=RETRAIN, run=Run(tmp_path))


def only(model: nn.Module) -> dnas.Architecture:
    """The first candidate of the only choice."""
    (decision,) = dnas.Supernet(model).decisions.values()
    return dnas.Architecture({decision.name: decision.candidates[0]})


class Writer(nn.Module):
    """A language model that takes its state, of two tensors, and returns the new one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 8)
        self.layer = dnas.Choice("layer", {"lstm": nn.LSTM(8, 8), "bare": nn.LSTM(8, 8, bias=False)})
        self.head = nn.Linear(8, 6)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        outputs, state = self.layer(self.embedding(tokens), state)
        return self.head(outputs), state


def test_a_language_model_that_hands_on_its_state_goes_all_the_way(tmp_path):
    text, state = torch.arange(300) % 5, (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
    train, val, test = (
        ContinuedBatches(TextBatches(part, batch_size=4, bptt=5, whole=True), state)
        for part in text.split([140, 80, 80])
    )
    torch.manual_seed(0)
    run, task = Run(tmp_path / "run"), dnas.LanguageModelling()
    found = dnas.search(Writer(), train, val, task=task, settings=SEARCH, run=run)
    assert not list(found.supernet.model.buffers())  # the states of the streams are gone
    assert found.metrics[-1]["validation_perplexity"] < found.metrics[0]["validation_perplexity"]
    settings = dnas.RetrainSettings(epochs=3, weights=dnas.WeightAdamW(lr=dnas.Constant(0.03)), keep_best=True)
    network = dnas.retrain(
        found.network(), train, task=task, settings=settings, run=run.child("retrain"), validation=val
    )
    measured = dnas.evaluate(network, test, task=task).measurement
    assert (measured.deciding, measured.score.better) == ("perplexity", "lower")
    # In one piece, without batches that hand on: the state is that of the whole text.
    rows = test.batches.tokens_LB
    with torch.no_grad():
        logits, _ = network(rows[:-1], state)
    whole = nn.functional.cross_entropy(logits.flatten(0, 1), rows[1:].flatten())
    assert measured.loss == pytest.approx(float(whole), rel=1e-5)
    compared = dnas.baseline(Writer, train, val, test, run=run, task=task, settings=settings, num=1).comparison
    assert (compared.metric, compared.found.test) == ("perplexity", measured.score.value)
    assert compared.found.parameters == sum(weight.numel() for weight in network.parameters())
    dnas.save(network, found.architecture, tmp_path / "model")
    loaded = dnas.load(tmp_path / "model", model=Writer)
    assert dnas.evaluate(loaded, test, task=task).measurement == measured
    example = (rows[:5], state)
    files = dnas.export(loaded, example, tmp_path / "export", architecture=found.architecture, batch_dim=1)
    assert [file.format for file in files] == ["onnx", "torch", "state_dict", "safetensors"]
    with pytest.raises(UserError, match=r"cannot take the example, a tensor .* 'state'"):
        dnas.export(loaded, rows[:5], tmp_path / "other", batch_dim=1)


@dataclass
class Named:
    """What models of transformers give out."""

    logits: Tensor
    loss: Tensor


class WithLoss(nn.Module):
    """Scores and their loss in one object, as those models compute it where they are given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.act = dnas.Choice("act", [nn.ReLU(), nn.Tanh()])
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor, targets: Tensor) -> Named:
        logits = self.head(self.act(x))
        return Named(logits, nn.functional.cross_entropy(logits, targets))


@pytest.mark.parametrize(
    "task", [dnas.Classification(), dnas.OwnTask(lambda outputs, targets: outputs.loss)], ids=["logits", "loss"]
)
def test_a_network_that_gives_an_object_with_logits_and_loss_goes_all_the_way(task, tmp_path):
    torch.manual_seed(0)
    targets = [labels(4, 8) for _ in range(2)]
    data, run = [({"x": random(8, 5), "targets": target}, target) for target in targets], Run(tmp_path / "run")
    found = dnas.search(WithLoss(), data, data, task=task, settings=SEARCH, run=run)
    compared = dnas.baseline(WithLoss, data, data, data, run=run, task=task, settings=RETRAIN, num=1).comparison
    assert compared.found.parameters == 5 * 4 + 4
    network = dnas.load(run.path, model=WithLoss)
    measured = dnas.evaluate(network, data, task=task).measurement
    assert measured.loss == pytest.approx(sum(network(**inputs).loss.item() for inputs, _ in data) / 2, rel=1e-5)
    with pytest.raises(UserError, match=r"the network gives a Named: give formats=\('state_dict',\)"):
        dnas.export(network, data[0][0], tmp_path / "export")
    files = dnas.export(network, data[0][0], tmp_path / "export", formats=("state_dict",))
    assert [file.deviation for file in files] == [0.0]
    assert found.architecture == compared.found.architecture


def test_candidates_that_give_objects_are_refused():
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Named:
            return Named(x, x.mean())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.choice, self.head = dnas.Choice("odd", [Odd(), Odd()]), nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.choice(x).logits)

    data = [(random(8, 5), labels(4, 8))]
    with pytest.raises(UserError, match="of choice 'odd' gives a Named, which cannot be mixed"):
        dnas.search(Net(), data, data, settings=SEARCH)


def test_a_criterion_alone_is_enough():
    torch.manual_seed(0)
    case = CASES["regression of signals"]
    data = [case.batch() for _ in range(2)]
    found = dnas.search(case.model(), data, data, criterion="mse", settings=SEARCH)
    network = dnas.derive(found.supernet.model, found.architecture)
    before = dnas.evaluate(network, data, task=case.task).loss
    dnas.retrain(network, data, criterion=nn.functional.mse_loss, settings=RETRAIN)
    assert dnas.evaluate(network, data, task=case.task).loss < before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"criterion": "nonsense"}, "got 'nonsense'"),
        ({"criterion": nn.MSELoss}, r"Make an object of it: MSELoss\(\)"),
        ({"criterion": nn.MSELoss(), "task": dnas.Regression()}, "leave one out"),
        ({"task": nn.MSELoss()}, "task must be a Task"),
    ],
)
def test_what_is_no_task_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        dnas.retrain(nn.Linear(2, 2), [(torch.zeros(2, 2), torch.zeros(2, 2))], settings=RETRAIN, **given)


def test_label_smoothing_of_the_settings_is_for_a_classification():
    settings = dnas.RetrainSettings(epochs=1, label_smoothing=0.1)
    with pytest.raises(UserError, match=r"label_smoothing 0.1 .* has no effect on Regression"):
        dnas.retrain(nn.Linear(2, 1), [(random(4, 2), random(4, 1))], task=dnas.Regression(), settings=settings)


@pytest.mark.parametrize("criterion", [lambda o, t: 1.0, lambda o, t: {}, lambda o, t: (o - t).square()])
def test_a_criterion_that_gives_no_scalar_is_refused(criterion):
    with pytest.raises(UserError, match="must give a scalar tensor"):
        dnas.retrain(nn.Linear(2, 1), [(random(4, 2), random(4, 1))], criterion=criterion, settings=RETRAIN)


def test_a_network_or_a_criterion_that_cannot_take_a_batch_is_named_with_what_came():
    data = [(random(4, 2), random(4, 1))]
    with pytest.raises(UserError, match=r"The network Linear cannot take the inputs, a tensor \(4, 2\)"):
        dnas.retrain(nn.Linear(3, 1), data, task=dnas.Regression(), settings=RETRAIN)
    with pytest.raises(UserError, match=r"The network Linear cannot take a tensor \(4, 2\)"):
        dnas.evaluate(nn.Linear(3, 1), data, task=dnas.Regression())
    with pytest.raises(UserError, match=r"cannot take outputs, a tensor \(4, 1\) .* targets, a tensor \(4, 1\)"):
        dnas.retrain(nn.Linear(2, 1), data, criterion=lambda outputs, targets, more: outputs.sum(), settings=RETRAIN)


def test_a_metric_that_gives_no_number_is_named():
    task = dnas.OwnTask(nn.functional.mse_loss, {"odd": dnas.Metric(lambda outputs, targets: "much", better="higher")})
    with pytest.raises(UserError, match="The metric 'odd' must give a tensor or a number; got a str"):
        dnas.evaluate(nn.Linear(2, 1), [(random(4, 2), random(4, 1))], task=task)
