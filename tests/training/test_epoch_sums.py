"""Sums over an epoch, and those that earlier versions have written."""

import pytest
import torch

from dnas.training.epoch_sums import EpochSums

CPU = torch.device("cpu")


def sums_of(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def test_means_are_weighted_and_zero_before_the_first_step():
    sums = EpochSums(("loss", "top1"), CPU)
    assert sums.means() == {"loss": 0.0, "top1": 0.0}
    sums.add(sums_of(3, 6.0, 2))
    sums.add(sums_of(1, 2.0, 1))
    assert sums.means() == {"loss": 2.0, "top1": 0.75}


def test_sums_go_on_where_they_were():
    sums, later = EpochSums(("loss",), CPU), EpochSums(("loss",), CPU)
    sums.add(sums_of(4, 2.0))
    later.load(sums.state())
    assert later.means() == {"loss": 0.5}


def test_sums_of_a_classifier_from_before_there_were_tasks_are_read():
    sums = EpochSums(("loss", "top1"), CPU)
    sums.load({"num_samples": 4, "sums": sums_of(2.0, 3.0)})
    assert sums.means() == {"loss": 0.5, "top1": 0.75}


def test_sums_of_other_names_are_refused():
    with pytest.raises(ValueError, match="sums of loss instead of loss, top1"):
        EpochSums(("loss", "top1"), CPU).load(EpochSums(("loss",), CPU).state())
