"""The epochs of a shrinking that fit a time."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from dnas.cost.budget import Budget
from dnas.data import image_kind
from dnas.jobs.planning.fit import Measured
from dnas.jobs.planning.shrink_plan import Lengths, ShrinkPlan, Steps, measured_steps, plan_shrinking
from dnas.jobs.planning.time_budget import MARGIN, START_AND_END, TooShort
from dnas.shrinking.settings import ShrinkSettings
from dnas.system.words import seconds_in

LENGTHS = Lengths(train=100, held_out=10, test=20)
SETTINGS = ShrinkSettings(batches=4, statistics_batches=2, random=3)


def measured(step: float, evaluation: float) -> Measured:
    return Measured(step=step, weight_step=step, evaluation=evaluation, memory=0, taken=0.0)


STEPS = Steps(measured(3.0, 1.0), measured(0.5, 0.25), trials=7, predicting=0.0, scratch_epochs=0)


def planned(seconds: float, settings: ShrinkSettings = SETTINGS, steps: Steps = STEPS, searched: int = 0) -> ShrinkPlan:
    return plan_shrinking(settings, steps, LENGTHS, search_epochs=searched, budget=seconds, time=f"{seconds}s")


def row(epochs: int) -> float:
    """Statistics of 4 batches, epochs of 100 steps of half a second, 20 batches of the test part."""
    return 4 * 0.25 + epochs * 100 * 0.5 + 20 * 0.25


# 4 batches of importance, 7 values on 2 + 4 batches, and the original on the test part.
FIXED = 4 * 3.0 + 7 * 6 * 1.0 + 20 * 1.0


def test_steps_are_measured_on_copies_of_the_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train()
    before = copy.deepcopy(model.state_dict())
    settings = replace(SETTINGS, from_scratch=2, fine_tuning=replace(SETTINGS.fine_tuning, batch_size=4))
    budget = Budget(("flops<=50%", "milliseconds<=90%"))
    found = measured_steps(
        model, image_kind(("a", "b"), channels=3, size=8), budget, settings, device=torch.device("cpu")
    )
    assert min(found.original.step, found.small.evaluation, found.predicting) > 0
    assert found.trials == 4 and found.scratch_epochs == 4  # half of the channels are half of the FLOPs
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_time_is_the_sum_of_all_that_is_done():
    assert planned(1e9).seconds == pytest.approx(START_AND_END + MARGIN * (FIXED + 5 * row(5)))
    searched = planned(1e9, searched=2).seconds - planned(1e9).seconds
    assert searched == pytest.approx(MARGIN * 2 * 100 * 2.5 * 3.0)
    scratch = planned(1e9, steps=replace(STEPS, scratch_epochs=40)).seconds - planned(1e9).seconds
    assert scratch == pytest.approx(MARGIN * (45 * 100 * 0.5 + 20 * 0.25))
    # Eight finalists: 8 of one piece, 2 newcomers, 4 of two pieces, each judged on 10 batches.
    finalists = replace(SETTINGS, finalists=replace(SETTINGS.finalists, num=8))
    more = planned(1e9, finalists).seconds - planned(1e9).seconds
    assert more == pytest.approx(MARGIN * ((8 + 2 + 8) / 4 * 100 * 0.5 + 14 * (4 * 0.25 + 10 * 0.25)))


def test_epochs_are_lowered_first_and_then_random_networks():
    def chosen(seconds: float) -> tuple[int, int]:
        settings = planned(seconds).settings
        return settings.fine_tuning.epochs, settings.random

    def needed(epochs: int, rows: int) -> float:
        return START_AND_END + MARGIN * (FIXED + rows * row(epochs)) + 1e-6

    assert chosen(needed(5, 5)) == (5, 3)
    assert chosen(needed(5, 5) - 1) == (4, 3)
    assert chosen(needed(1, 5)) == (1, 3)
    assert chosen(needed(1, 5) - 1) == (1, 2)
    assert chosen(needed(1, 2)) == (1, 0)
    with pytest.raises(TooShort, match="shrinking needs --time") as refused:
        planned(needed(1, 2) - 1)
    assert seconds_in(refused.value.enough) > needed(1, 2)
    with pytest.raises(TooShort) as later:  # 1,000 s went by before
        plan_shrinking(SETTINGS, STEPS, LENGTHS, search_epochs=0, budget=needed(1, 2) - 1, time="2000s")
    assert seconds_in(later.value.enough) > 2000 + 1
    slower = replace(STEPS, original=measured(4.2, 1.4), small=measured(0.7, 0.35))  # when it is measured again
    assert planned(seconds_in(refused.value.enough), steps=slower).settings.random == 0
