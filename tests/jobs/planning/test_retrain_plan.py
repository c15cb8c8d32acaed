"""Plans of a retraining fit the time and the memory, and grow nothing."""

import re
from dataclasses import replace

import pytest

from dnas.jobs.planning.counts import END_OF_EPOCH
from dnas.jobs.planning.fit import Sizes
from dnas.jobs.planning.retrain_plan import RETRAIN_LADDER, RetrainPlan, plan_retraining
from dnas.jobs.planning.time_budget import MARGIN, START_AND_END, planning_seconds
from dnas.system.words import seconds_in
from dnas.training.settings import RetrainSettings
from tests.support.planning import GIB, Machine


def retraining(
    machine: Machine, time: str | None, settings: RetrainSettings = RetrainSettings(), available: int = 16 * GIB
) -> RetrainPlan:
    return plan_retraining(
        settings,
        machine,
        time=time,
        image_size=64,
        num_images=765,
        num_held_out=85,
        available=available,
        planning=planning_seconds(time),
    )


def test_without_a_time_nothing_is_lowered():
    found = retraining(Machine(speed=0.01), None)
    assert found.settings == RetrainSettings()
    assert found.seconds > 3600


def test_retraining_lowers_the_network_first_then_the_epochs():
    found = [retraining(Machine(speed), "10min").settings for speed in (1e4, 100, 10, 3, 1, 0.4)]
    widths = [(settings.channels, settings.cells) for settings in found]
    assert widths[0] == (36, 20)
    assert widths == sorted(widths, reverse=True)
    assert set(widths) <= {(36, 20), *RETRAIN_LADDER}
    assert found[0].epochs == 600
    # A network that is not the smallest gets epochs enough to finish.
    assert all(each.epochs >= 60 for each in found if (each.channels, each.cells) != RETRAIN_LADDER[-1])
    assert found[-1].epochs >= 10


@pytest.mark.parametrize("speed", [0.5, 2.0, 10.0, 100.0])
@pytest.mark.parametrize("time", ["2min", "10min", "1h"])
def test_a_retraining_keeps_its_promise(time: str, speed: float):
    try:
        found = retraining(Machine(speed), time)
    except ValueError as error:
        time = re.findall(r"needs --time (\S+) for 10 epochs", str(error))[0]
        found = retraining(Machine(speed), time)
    assert found.seconds + planning_seconds(time) <= seconds_in(time)
    assert replace(found.settings, channels=36, cells=20, epochs=600) == RetrainSettings()


def test_retraining_grows_nothing_beyond_what_is_asked_for():
    asked = RetrainSettings(channels=12, cells=4, epochs=15)
    assert retraining(Machine(speed=1e4), "1h", asked).settings == asked
    slow = retraining(Machine(speed=1.0), "2min", asked).settings
    assert slow.channels <= 12
    assert slow.cells <= 4
    assert 10 <= slow.epochs <= 15


def test_the_estimate_of_a_retraining_adds_up():
    machine = Machine()
    settings = RetrainSettings(channels=12, cells=8, epochs=15, batch_size=64)
    found = retraining(machine, None, settings)
    step = machine(Sizes(64, 64, 12, 8))
    epoch = 12 * step.step + 2 * step.evaluation + END_OF_EPOCH
    assert found.seconds == pytest.approx(START_AND_END + MARGIN * 15 * epoch)
    assert found.memory == step.memory + 2 * 3 * 64**2 * 850
    assert str(found).startswith("12 channels, 8 cells, 15 epochs: about ")


def test_a_network_that_memory_does_not_hold_is_lowered_or_refused():
    found = retraining(Machine(speed=1e4, per_volume=200.0), "1h", available=6 * GIB)
    assert (found.settings.channels, found.settings.cells) != (36, 20)
    assert found.memory <= 6 * GIB
    with pytest.raises(ValueError, match="batch_size"):
        retraining(Machine(speed=1e4, per_volume=200.0), None, available=6 * GIB)
