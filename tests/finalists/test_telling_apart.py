"""Whether two finalists can be told apart, against closed forms."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from dnas.data.iterable_batches import IterableBatches
from dnas.finalists.judgement import Judgement, judge
from dnas.finalists.telling_apart import can_tell_apart, mcnemar_p
from dnas.system.errors import UserError
from dnas.task import Classification, Regression

JUDGEMENT = Judgement("mse", "lower", 1.0, 1.0, (0.8, 1.2), None, 0.5, 0.5)


@pytest.mark.parametrize(("first", "second"), [(9, 1), (3, 3), (0, 0), (700, 610)])
def test_mcnemars_p_is_that_of_a_binomial_test(first: int, second: int):
    one, other = "1" * first + "0" * second + "1010", "0" * first + "1" * second + "1010"
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(one, other) == pytest.approx(expected, rel=1e-9)


def test_top1_is_told_apart_by_the_samples_that_one_recognises_alone():
    best = replace(JUDGEMENT, metric="top1", better="higher", interval=None, right="1" * 10 + "0" * 10)
    assert can_tell_apart(best, replace(best, right="0" * 20))  # p = 2^-9
    assert not can_tell_apart(best, replace(best, right="1" * 5 + "0" * 15))  # p = 2^-4


def test_other_metrics_are_told_apart_by_the_interval_of_the_best():
    assert can_tell_apart(JUDGEMENT, replace(JUDGEMENT, value=1.3))
    assert not can_tell_apart(JUDGEMENT, replace(JUDGEMENT, value=1.1))
    assert can_tell_apart(replace(JUDGEMENT, interval=None), replace(JUDGEMENT, value=1.001))


def test_a_judgement_has_the_tasks_first_metric_and_the_samples_that_are_right():
    inputs = torch.eye(4)
    batches = IterableBatches([(inputs[:3], torch.tensor([0, 1, 0])), (inputs[3:], torch.tensor([3]))])
    judged = judge(nn.Identity(), batches, Classification())
    assert (judged.metric, judged.value, judged.right, judged.interval) == ("top1", 0.75, "1101", None)
    balanced = judge(nn.Identity(), batches, Classification(balanced=True))
    assert (balanced.metric, balanced.right) == ("balanced_accuracy", None)
    assert balanced.value == pytest.approx((0.5 + 1 + 1) / 3)
    assert judged.order < replace(judged, loss=judged.loss + 1).order < replace(judged, value=0.5).order


def test_a_judgement_is_read_back_and_a_damaged_one_is_refused():
    regression = judge(nn.Identity(), IterableBatches([(torch.ones(3, 1), torch.zeros(3, 1))]), Regression())
    for judged in (regression, JUDGEMENT):
        assert Judgement.from_data(judged.to_data(), source="x") == judged
    for change in ({"value": "1"}, {"better": "bigger"}, {"right": 3}):
        with pytest.raises(UserError, match="x"):
            Judgement.from_data({**JUDGEMENT.to_data(), **change}, source="x")
    with pytest.raises(UserError, match="entries"):
        Judgement.from_data({}, source="x")
