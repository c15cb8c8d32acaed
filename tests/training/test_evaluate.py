"""Evaluation against logits whose loss, ranks and confusion are known."""

import csv
import io
import json
import math
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from dnas import Choice, derive, search
from dnas.searching.settings import SearchSettings
from dnas.system.display import Display, Silent
from dnas.system.errors import NonFiniteLoss, UserError
from dnas.task import Metric, OwnTask, Regression
from dnas.training.evaluate import evaluate
from dnas.training.retrain import retrain
from dnas.training.settings import RetrainSettings


class Known(nn.Module):
    """Gives out its inputs as logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def scores(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# Seven classes, so that top-5 is not everything. Ranks of the true class: 1, 2, 5, 6.
SEVEN = scores(
    [7, 6, 5, 4, 3, 2, 1],
    [7, 6, 5, 4, 3, 2, 1],
    [7, 6, 5, 4, 3, 2, 1],
    [7, 6, 5, 4, 3, 2, 1],
)
SEVEN_TARGETS = torch.tensor([0, 1, 4, 5])


def test_top1_and_top5_count_the_rank_of_the_true_class():
    evaluation = evaluate(Known(), [(SEVEN, SEVEN_TARGETS)])
    assert evaluation.num_images == 4
    assert evaluation.top1 == 1 / 4
    assert evaluation.top5 == 3 / 4


def test_loss_is_the_mean_cross_entropy_over_images_not_over_batches():
    # -log softmax of two equal scores is log 2; of (log 3, 0) it is log(4/3) for the first class.
    batches = [
        (scores([0.0, 0.0]), torch.tensor([1])),
        (scores([math.log(3), 0.0], [math.log(3), 0.0], [math.log(3), 0.0]), torch.tensor([0, 0, 1])),
    ]
    expected = (math.log(2) + 2 * math.log(4 / 3) + math.log(4)) / 4
    assert evaluate(Known(), batches).loss == pytest.approx(expected, rel=1e-14)


def test_top5_is_everything_where_there_are_at_most_five_classes():
    assert evaluate(Known(), [(scores([1, 0, 0], [1, 0, 0]), torch.tensor([2, 1]))]).top5 == 1.0


def test_confusion_has_true_classes_in_rows_and_predicted_ones_in_columns():
    logits = scores([1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1])
    evaluation = evaluate(Known(), [(logits[:3], torch.tensor([0, 0, 1])), (logits[3:], torch.tensor([0]))])
    assert evaluation.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert evaluation.per_class == (1 / 3, 1.0, None)
    assert evaluation.top1 == 2 / 4


def test_confusion_is_written_with_the_names_of_the_classes(tmp_path):
    evaluation = evaluate(Known(), [(scores([1, 0], [1, 0], [0, 1]), torch.tensor([0, 1, 1]))])
    evaluation.write_confusion(tmp_path / "new" / "confusion.csv", ["a, b", "c"])
    rows = list(csv.reader((tmp_path / "new" / "confusion.csv").read_text().splitlines()))
    assert rows == [["true \\ predicted", "a, b", "c"], ["a, b", "1", "0"], ["c", "1", "1"]]


def test_a_wrong_number_of_class_names_is_told(tmp_path):
    evaluation = evaluate(Known(), [(scores([1, 0]), torch.tensor([0]))])
    with pytest.raises(ValueError, match="2 classes apart, but there are 3 class names"):
        evaluation.write_confusion(tmp_path / "confusion.csv", ["a", "b", "c"])


def test_the_data_can_be_written_as_json():
    evaluation = evaluate(Known(), [(scores([1, 0, 0], [0, 1, 0]), torch.tensor([0, 0]))])
    data = json.loads(json.dumps(evaluation.to_data(), allow_nan=False))
    assert data["top1"] == 0.5
    assert data["per_class"] == [0.5, None, None]
    assert data["top1_interval_95"] == list(evaluation.top1_interval)


def test_the_network_is_evaluated_in_evaluation_mode_and_every_module_gets_its_mode_back():
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    network.train()
    network[2].eval()  # a frozen batch norm
    before = network[2].running_mean.clone(), torch.get_rng_state()
    data = [(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1]))]
    assert evaluate(network, data).loss == evaluate(network, data).loss
    assert (network.training, network[1].training, network[2].training) == (True, True, False)
    assert torch.equal(network[2].running_mean, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_no_gradient_is_left():
    network = nn.Linear(2, 2)
    evaluate(network, [(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))])
    assert network.weight.grad is None


def test_inputs_may_be_tuples_and_dicts():
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    one, targets = scores([1, 0]), torch.tensor([0])
    assert evaluate(Sum(), [((one, one), targets), ({"a": one, "b": one}, targets)]).top1 == 1.0


def test_a_network_that_flattens_with_view_can_be_evaluated_on_channels_last_images():
    class Flattening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.convolution(x)
            return x.view(len(x), -1)

    images = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    evaluate(Flattening(), [(images.contiguous(memory_format=torch.channels_last), torch.tensor([0, 1]))])


def test_targets_that_are_no_class_of_the_network_are_told():
    with pytest.raises(ValueError, match=r"2 of 3 targets are no class .* classes 0 to 1"):
        evaluate(Known(), [(scores([1, 0], [1, 0], [1, 0]), torch.tensor([0, 2, -1]))])


def test_outputs_that_are_no_logits_are_told():
    with pytest.raises(ValueError, match=r"must give logits \(batch, classes\); .* a tensor \(2, 3, 4\)"):
        evaluate(Known(), [(torch.zeros(2, 3, 4), torch.tensor([0, 1]))])


def test_targets_that_are_no_labels_are_told():
    with pytest.raises(ValueError, match="int64 labels"):
        evaluate(Known(), [(torch.zeros(2, 3), torch.zeros(2))])


def test_nan_is_an_error_and_not_an_accuracy():
    with pytest.raises(FloatingPointError, match="1 of 2 samples"):
        evaluate(Known(), [(scores([math.nan, 0], [1, 0]), torch.tensor([0, 0]))])


def test_progress_is_shown():
    class Seen(Display):
        def __init__(self) -> None:
            self.calls: list[tuple[str, int, int]] = []

        def update(self, phase, done, total, scalars) -> None:
            self.calls.append((phase, done, total))

        def say(self, text) -> None: ...

    seen = Seen()
    evaluate(Known(), [(scores([1, 0]), torch.tensor([0]))] * 2, display=seen, phase="test")
    assert seen.calls == [("test", 1, 2), ("test", 2, 2)]


def test_a_value_that_the_task_does_not_have_is_told():
    evaluation = evaluate(Known(), [(torch.zeros(3, 1), torch.zeros(3, 1))], task=Regression())
    with pytest.raises(ValueError, match="no metric 'top1'; it has mse, mae, r2"):
        _ = evaluation.top1
    with pytest.raises(ValueError, match="Only a classification has a confusion"):
        _ = evaluation.per_class


def test_a_batch_that_does_not_fit_is_named_by_its_number():
    good = (torch.zeros(2, 4), torch.tensor([0, 1]))
    for bad in ((torch.zeros(2, 4), torch.tensor([0, 3])), (torch.zeros(2, 5), good[1]), (good[0], good[1].int())):
        with pytest.raises(UserError, match=r"This is batch 1 of the data \(epoch 0\)"):
            evaluate(nn.Linear(4, 3), [good, bad])


def test_of_outputs_that_are_not_finite_it_is_said_first_whether_the_inputs_were():
    good, bad = ((torch.full((2, 4), value), torch.tensor([0, 1])) for value in (0.0, float("nan")))
    with pytest.raises(NonFiniteLoss, match=r"batch 1 of the data .*: its inputs hold NaN or infinity in 2 of 2"):
        evaluate(nn.Linear(4, 3), [good, bad])
    network = nn.Linear(4, 3)
    nn.init.constant_(network.bias, float("inf"))
    with pytest.raises(NonFiniteLoss, match="All inputs are finite"):
        evaluate(network, [good])


def test_progress_is_shown_in_a_terminal_and_silent_shows_none(monkeypatch: pytest.MonkeyPatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    batches = [(torch.randn(2, 4), torch.tensor([0, 1]))] * 3
    evaluate(nn.Linear(4, 2), batches, display=Silent())
    assert terminal.getvalue() == ""
    evaluate(nn.Linear(4, 2), batches)
    assert "evaluate 3/3" in terminal.getvalue()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (OwnTask(lambda outputs: outputs.sum()), r"criterion cannot take outputs, a tensor \(2, 4\).*1 positional"),
        (OwnTask(lambda outputs, targets: 1.0), r"must give a scalar tensor.*its 'loss' is a float"),
        (
            OwnTask(nn.functional.cross_entropy, {"off": Metric(lambda outputs, targets: outputs["x"], "lower")}),
            r"The metric 'off' cannot take outputs, a tensor \(2, 4\)",
        ),
        (Regression, r"task must be a Task, such as dnas.Regression\(\)"),
    ],
)
def test_a_task_that_cannot_measure_is_told_in_a_sentence(task, message):
    with pytest.raises(UserError, match=message), warnings.catch_warnings(action="ignore"):
        evaluate(nn.Linear(3, 4), [(torch.zeros(2, 3), torch.tensor([0, 1]))], task=task)


@dataclass
class Outputs:
    loss: Tensor | None
    logits: Tensor


class GivesAnObject(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act = nn.Linear(3, 4), Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Outputs:
        logits = self.act(self.layer(x))
        return Outputs(None if labels is None else nn.functional.cross_entropy(logits, labels), logits)


def test_objects_with_logits_and_with_a_loss_are_searched_trained_and_measured():
    x, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    once = {"settings": RetrainSettings(epochs=1), "display": Silent()}
    found = search(GivesAnObject(), [(x, labels)], [(x, labels)], settings=SearchSettings(epochs=1), display=Silent())
    network = retrain(derive(GivesAnObject(), found.architecture), [(x, labels)], **once)
    measured = evaluate(network, [(x, labels)])
    assert measured.loss == pytest.approx(float(network(x, labels).loss.detach()))
    of_model = [({"x": x, "labels": labels}, labels)]
    retrain(network, of_model, criterion=lambda outputs, targets: outputs.loss, **once)
    task = OwnTask(lambda outputs, targets: outputs.loss)
    assert evaluate(network, of_model, task=task).loss == pytest.approx(float(network(x, labels).loss.detach()))
