"""Tasks: every metric against its closed form, weights, directions, and what is refused."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from torch import nn

from dnas.system.errors import NonFiniteLoss, UserError
from dnas.task import (
    Classification,
    LanguageModelling,
    LanguageOutput,
    Metric,
    MultiLabel,
    OwnTask,
    Regression,
    Segmentation,
    measure,
)

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def labels(high, *shape):
    return torch.randint(high, shape, generator=GENERATOR)


def in_batches(outputs, targets, *sizes):
    return zip(outputs.split(list(sizes)), targets.split(list(sizes)), strict=True)


def test_classification_measures_what_scikit_learn_measures_whatever_the_batches():
    outputs, targets = random(57, 7), labels(7, 57)
    found = measure(Classification(), in_batches(outputs, targets, 20, 30, 7))
    predicted = outputs.argmax(1)
    assert found.values["top1"].value == pytest.approx(oracle.accuracy_score(targets, predicted), rel=1e-12)
    assert found.values["balanced_accuracy"].value == pytest.approx(
        oracle.balanced_accuracy_score(targets, predicted), rel=1e-12
    )
    assert found.values["top5"].value == pytest.approx(
        oracle.top_k_accuracy_score(targets, outputs, k=5, labels=range(7)), rel=1e-12
    )
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-12)
    assert found.num_samples == 57
    assert found.deciding == "top1"
    assert measure(Classification(balanced=True), [(outputs, targets)]).deciding == "balanced_accuracy"


def test_top5_of_fewer_classes_is_one():
    assert measure(Classification(), [(random(6, 3), labels(3, 6))]).values["top5"].value == 1.0


def test_regression_measures_what_scikit_learn_measures_whatever_the_batches():
    outputs, targets = random(41, 3), random(41, 3)
    found = measure(Regression(), in_batches(outputs, targets, 1, 30, 10))
    assert found.values["mse"].value == pytest.approx(oracle.mean_squared_error(targets, outputs), rel=1e-12)
    assert found.values["mae"].value == pytest.approx(oracle.mean_absolute_error(targets, outputs), rel=1e-12)
    flat = oracle.r2_score(targets.flatten(), outputs.flatten())
    assert found.values["r2"].value == pytest.approx(flat, rel=1e-12)
    assert found.loss == pytest.approx(found.values["mse"].value, rel=1e-12)


def test_r2_is_exact_far_from_zero_and_below_zero_for_what_is_worse_than_the_mean():
    targets = 1e6 + random(100)
    found = measure(Regression(), in_batches(targets.mean().expand(100), targets, 50, 50)).values["r2"].value
    assert found == pytest.approx(0.0, abs=1e-9)
    assert measure(Regression(), [(-random(50), random(50))]).values["r2"].value < 0


def test_multi_label_measures_what_scikit_learn_measures():
    outputs, targets = random(33, 5), labels(2, 33, 5)
    found = measure(MultiLabel(), in_batches(outputs, targets, 11, 22)).values
    predicted = (outputs > 0).int()
    assert found["f1"].value == pytest.approx(oracle.f1_score(targets, predicted, average="micro"), rel=1e-12)
    assert found["exact_match"].value == pytest.approx(oracle.accuracy_score(targets, predicted), rel=1e-12)
    assert found["label_accuracy"].value == pytest.approx(1 - oracle.hamming_loss(targets, predicted), rel=1e-12)


def test_segmentation_counts_pixels_that_are_not_ignored_whatever_the_batches():
    outputs, targets = random(9, 4, 5, 6), labels(4, 9, 5, 6)
    targets[:, 0] = 255
    targets[2] = 255  # an image without any pixel that counts
    targets[3, 2:] = 255
    found = measure(Segmentation(), in_batches(outputs, targets, 2, 1, 6))
    counts = targets != 255
    true, predicted = targets[counts], outputs.argmax(1)[counts]
    assert found.values["pixel_accuracy"].value == pytest.approx(oracle.accuracy_score(true, predicted), rel=1e-12)
    assert found.values["miou"].value == pytest.approx(
        oracle.jaccard_score(true, predicted, average="macro"), rel=1e-12
    )
    expected = nn.functional.cross_entropy(outputs, targets, ignore_index=255)
    assert found.loss == pytest.approx(float(expected), rel=1e-12)


def test_a_batch_of_ignored_pixels_has_loss_and_gradient_zero():
    outputs = random(2, 3, 4, 4).requires_grad_()
    loss = Segmentation().criterion(outputs, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert bool((outputs.grad == 0).all())


def test_perplexity_is_the_exponential_of_the_mean_loss_over_all_tokens():
    outputs, targets = random(7, 3, 11), labels(11, 7, 3)
    found = measure(LanguageModelling(), in_batches(outputs, targets, 5, 2))
    expected = math.exp(float(nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())))
    assert found.values["perplexity"].value == pytest.approx(expected, rel=1e-12)
    assert math.exp(found.loss) == pytest.approx(expected, rel=1e-12)


def test_the_loss_of_a_language_model_is_cross_entropy_with_size_and_slowness_of_its_states():
    logits, states, dropped = (random(3, 2, 4) for _ in range(3))
    targets = torch.tensor([[0, 1], [2, 3], [1, 1]])
    terms = LanguageModelling(activation=2.0, slowness=3.0).criterion(LanguageOutput(logits, states, dropped), targets)
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    entropy = -sum(math.log(probabilities[t, b, targets[t, b]]) for t in range(3) for b in range(2)) / 6
    slow = sum((states[t] - states[t - 1]).square().sum() for t in (1, 2)) / 16
    expected = {"cross_entropy": entropy, "activation": 2 * (dropped**2).mean(), "slowness": 3 * slow}
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-12
    )
    # In evaluation the states are not given out, and the loss is the logarithm of the perplexity.
    assert list(LanguageModelling(2.0, 3.0).criterion(LanguageOutput(logits), targets)) == ["cross_entropy"]


def test_the_mean_of_batches_is_weighted_by_their_samples():
    outputs, targets = random(10), random(10)

    def mean_error(outputs, targets):
        return (outputs - targets).abs().mean()

    task = OwnTask(nn.functional.mse_loss, {"error": Metric(mean_error, "lower")})
    found = measure(task, in_batches(outputs, targets, 1, 9))
    assert found.values["error"].value == pytest.approx(float((outputs - targets).abs().mean()), rel=1e-12)


def test_terms_of_a_loss_are_added_up():
    task = OwnTask(
        lambda outputs, targets: {"a": (outputs["a"] - targets["a"]).square().mean(), "b": outputs["b"].mean()}
    )
    a, b, target = random(4), random(4), random(4)
    found = measure(task, [({"a": a, "b": b}, {"a": target})])
    assert found.loss == pytest.approx(float((a - target).square().mean() + b.mean()), rel=1e-12)
    assert found.deciding == "loss"
    assert found.score.is_better(found.loss + 1)


def test_a_metric_with_state_is_asked_once_over_all_batches():
    class Area:
        higher_is_better = True

        def reset(self):
            self.outputs, self.targets = [], []

        def update(self, outputs, targets):
            self.outputs.append(outputs)
            self.targets.append(targets)

        def compute(self):
            return oracle.roc_auc_score(torch.cat(self.targets), torch.cat(self.outputs))

    outputs, targets = random(200), labels(2, 200)
    task = OwnTask(lambda o, t: nn.functional.binary_cross_entropy_with_logits(o, t.double()), {"auc": Area()})
    found = measure(task, in_batches(outputs, targets, 150, 50)).values["auc"]
    assert found.value == pytest.approx(oracle.roc_auc_score(targets, outputs), rel=1e-12)
    assert found.better == "higher"
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_for_many_samples():
    outputs = random(4000)
    task = OwnTask(nn.functional.mse_loss, {"off": Metric(lambda o, t: o - t, "lower")})
    low, high = measure(task, [(outputs, torch.zeros_like(outputs))]).values["off"].interval
    error = float(outputs.std()) / math.sqrt(4000)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_interval_of_a_share_is_wilsons():
    outputs = torch.eye(2, dtype=torch.float64).repeat(50, 1)
    targets = torch.zeros(100, dtype=torch.int64)
    low, high = measure(Classification(), [(outputs, targets)]).values["top1"].interval
    z, n, p = 1.959963984540054, 100, 0.5
    middle = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert high - low == pytest.approx(2 * middle, rel=1e-12)


REFUSED = {
    "no logits": (Classification(), random(4), labels(2, 4), "logits"),
    "float labels": (Classification(), random(4, 2), random(4), "int64 labels"),
    "a label that is no class": (Classification(), random(4, 2), torch.tensor([0, 1, 7, 0]), "first is 7"),
    "a broadcast regression": (Regression(), random(4, 1), random(4), "same shape"),
    "a mask of another size": (Segmentation(), random(2, 3, 4, 4), labels(3, 2, 8, 8), "labels of all pixels"),
    "labels of 2": (MultiLabel(), random(2, 3), torch.full((2, 3), 2), "0 or 1"),
    "tokens of another shape": (LanguageModelling(), random(2, 3, 4), labels(4, 2), "tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    task, outputs, targets, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        measure(task, [(outputs, targets)])


def test_outputs_that_are_not_finite_are_refused():
    outputs = random(4, 2)
    outputs[1, 1] = torch.nan
    with pytest.raises(NonFiniteLoss, match="1 of 4 samples"):
        measure(Classification(), [(outputs, labels(2, 4))])


def test_no_data_and_no_sample_that_counts_are_refused():
    with pytest.raises(UserError, match="no batch"):
        measure(Classification(), [])
    with pytest.raises(UserError, match="all targets are ignored"):
        measure(Segmentation(), [(random(1, 2, 2, 2), torch.full((1, 2, 2), 255))])


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ({"mae": lambda o, t: 0.0}, "Which values of the metric 'mae' are better"),
        ([1], "mapping of names"),
        ({"a": "mse"}, "Which values"),
    ],
)
def test_metrics_that_say_too_little_are_refused(measures, message):
    with pytest.raises(UserError, match=message):
        OwnTask(nn.functional.mse_loss, measures)


def test_a_criterion_that_is_no_function_is_refused():
    with pytest.raises(UserError, match="got 'mse'"):
        OwnTask("mse")  # pyright: ignore[reportArgumentType]


def test_an_unknown_direction_is_refused():
    with pytest.raises(UserError, match="'higher' or 'lower'"):
        Metric(lambda o, t: 0.0, "max")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [torch.zeros(3), {"a": 1.0}])
def test_a_metric_that_gives_no_number_is_refused(value):
    class Odd:
        higher_is_better = False

        def reset(self): ...

        def update(self, outputs, targets): ...

        def compute(self):
            return value

    with pytest.raises(UserError, match="'odd' must compute one number"):
        measure(OwnTask(nn.functional.mse_loss, {"odd": Odd()}), [(random(3), random(3))])


class Counting:
    """A metric with state that counts how often it was asked."""

    higher_is_better = True

    def reset(self):
        self.total = 0.0

    def update(self, outputs, targets):
        self.total += float(targets.double().sum())

    def compute(self):
        return self.total


def first_term(outputs, targets):
    return outputs["a"].square().mean()


def test_outputs_that_are_no_tensor_have_no_interval_for_metrics_with_state():
    found = measure(OwnTask(first_term, {"total": Counting()}), [({"a": random(3)}, torch.ones(3))]).values["total"]
    assert (found.value, found.interval) == (3.0, None)


def test_too_much_to_keep_has_no_interval_for_metrics_with_state(monkeypatch):
    monkeypatch.setattr("dnas.task.measurement._KEPT_NUMBERS", 7)
    task = OwnTask(nn.functional.mse_loss, {"total": Counting()})
    assert measure(task, [(random(3), torch.ones(3))]).values["total"].interval is not None
    assert measure(task, [(random(4), torch.ones(4))]).values["total"].interval is None


def test_rows_of_outputs_that_are_no_samples_have_no_interval_for_metrics_with_state():
    task = OwnTask(lambda outputs, targets: outputs.mean(), {"total": Counting()})
    assert measure(task, [(random(6, 2), torch.ones(3))]).values["total"].interval is None


@pytest.mark.parametrize(
    ("given", "message"), [("many", "got a str"), (torch.zeros(2, 3), r"one value per sample, \(3,\)")]
)
def test_a_metric_that_gives_no_value_per_sample_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        measure(OwnTask(nn.functional.mse_loss, {"odd": Metric(lambda o, t: given, "lower")}), [(random(3), random(3))])


def test_values_are_compared_by_their_direction():
    assert Metric(lambda o, t: 0.0, "lower").is_better(1.0, 2.0)
    assert not Metric(lambda o, t: 0.0, "higher").is_better(1.0, 1.0)


def test_one_sample_has_no_interval():
    assert measure(Regression(), [(random(1), random(1))]).values["mse"].interval is None
