"""How good a supernet is, as one number of which more is better."""

from torch import nn

from dnas.searching.supernet_measures import goodness
from dnas.task import Classification, Metric, OwnTask, Regression

MEASURED = {"loss": 0.5, "accuracy": 0.75, "top1": 0.7, "mse": 0.3, "seen": 2.0}


def test_without_a_task_the_accuracy_decides_or_minus_the_loss():
    assert goodness(MEASURED, None) == 0.75
    assert goodness({"loss": 0.5}, None) == -0.5


def test_the_first_metric_decides_by_its_direction():
    assert goodness(MEASURED, Classification()) == 0.7
    assert goodness(MEASURED, Regression()) == -0.3
    assert goodness(MEASURED, OwnTask(nn.functional.mse_loss, {"seen": Metric(lambda o, t: 0.0, "higher")})) == 2.0


def test_a_task_without_metrics_is_judged_by_its_loss():
    assert goodness(MEASURED, OwnTask(nn.functional.mse_loss)) == -0.5
