"""Schedules meet their end points and their closed forms."""

import math
import pickle

import pytest
import torch
from torch.testing import assert_close

from dnas.core.schedule import Constant, Cosine, Exponential, Linear, Schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(0.3), [0.3, 0.3, 0.3, 0.3]),
        (Linear(10.0, 0.1), [10.0, 7.525, 5.05, 0.1]),
        (Exponential(16.0, 1.0), [16.0, 8.0, 4.0, 1.0]),
        (Cosine(0.025, 0.001), [0.025, 0.013 + 0.012 * math.sqrt(0.5), 0.013, 0.001]),
    ],
)
def test_values_over_the_progress(schedule, expected):
    progress = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    assert_close(schedule(progress), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14)


def test_cosine_is_that_of_torch():
    steps, weight = 7, torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=0.025)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.001)
    schedule = Cosine(0.025, 0.001)
    for step in range(steps + 1):
        expected = torch.tensor(scheduler.get_last_lr()[0], dtype=torch.float64)
        assert_close(schedule(torch.tensor(step / steps, dtype=torch.float64)), expected, rtol=1e-12, atol=1e-15)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", [Constant(2.0), Linear(1.0, 0.0), Cosine(1.0, 0.0), Exponential(1.0, 0.1)])
def test_a_scalar_tensor_gives_a_scalar_tensor_of_its_dtype_and_parts_can_be_pickled(schedule: Schedule):
    value = schedule(torch.tensor(0.5, dtype=torch.float64))
    assert (value.shape, value.dtype) == ((), torch.float64)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.0, 1.0), (-1.0, -0.5)])
def test_an_exponential_schedule_that_no_factor_makes_is_refused(start: float, end: float):
    with pytest.raises(ValueError, match=f"start={start} and end={end}"):
        Exponential(start, end)


def test_an_exponential_schedule_falls_by_the_same_factor_each_epoch_as_in_p_darts():
    epochs = torch.arange(16, dtype=torch.float64)
    schedule = Exponential(0.4, 0.4 * math.exp(-0.2 * 15))
    assert_close(schedule(epochs / 15), 0.4 * torch.exp(-0.2 * epochs), rtol=1e-13, atol=0)
