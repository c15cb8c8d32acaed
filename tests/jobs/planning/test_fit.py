"""The largest sizes that fit are found by few measurements, whatever the machine; here machines are formulas."""

from collections.abc import Callable

import pytest

from dnas.jobs.planning.fit import HOPE, STEPS_MEASURED, Limits, Measured, Scaling, Sizes, largest_that_fits

GIB = 2**30
LADDER = [
    *(Sizes(64, 64, 16, 8), Sizes(64, 64, 16, 5), Sizes(48, 64, 16, 5), Sizes(32, 64, 12, 5)),
    *(Sizes(32, 64, 8, 3), Sizes(24, 64, 4, 3), Sizes(16, 64, 4, 3)),
]


class Machine:
    """Steps whose seconds and bytes are known, and a list of what was measured.

    Args:
        per_cell: seconds for each cell, however small.
        per_work: seconds for work of 1.
        per_volume: bytes for volume of 1.
        surprise: factor of the seconds beyond 24 pixels, which predictions from 16 do not see.
    """

    def __init__(self, per_cell: float = 1e-3, per_work: float = 1e-9, per_volume: float = 40.0, surprise: float = 1.0):
        self.per_cell, self.per_work, self.per_volume, self.surprise = per_cell, per_work, per_volume, surprise
        self.measured: list[Sizes] = []

    def step(self, sizes: Sizes) -> float:
        factor = self.surprise if sizes.image_size > 24 else 1.0
        return factor * (self.per_cell * sizes.cells + self.per_work * sizes.work)

    def memory(self, sizes: Sizes) -> int:
        return round(0.2 * GIB + self.per_volume * sizes.volume)

    def __call__(self, sizes: Sizes) -> Measured:
        self.measured.append(sizes)
        step = self.step(sizes)
        return Measured(step, step / 2, step / 4, self.memory(sizes), taken=STEPS_MEASURED * step)


def hundred_steps(sizes: Sizes, measured: Measured) -> tuple[float, int]:
    return 100 * measured.step, measured.memory


def fits(machine: Machine, sizes: Sizes, limits: Limits) -> bool:
    return 100 * machine.step(sizes) <= limits.seconds and machine.memory(sizes) <= 0.9 * limits.memory


def test_work_and_volume_are_those_of_the_formula():
    sizes = Sizes(image_size=10, batch_size=3, channels=4, cells=5)
    assert sizes.work == 3 * 100 * 8 * 5
    assert sizes.volume == 3 * 100 * 4 * 5


def test_two_small_measurements_predict_a_machine_that_follows_the_formula():
    machine = Machine()
    scaling = Scaling(LADDER[-1], machine)
    assert [sizes.batch_size for sizes in machine.measured] == [4, 16]
    for sizes in LADDER:
        expected = scaling(sizes)
        assert expected.step == pytest.approx(machine.step(sizes), rel=1e-9)
        assert expected.weight_step == pytest.approx(machine.step(sizes) / 2, rel=1e-9)
        assert expected.evaluation == pytest.approx(machine.step(sizes) / 4, rel=1e-9)
        assert expected.memory == pytest.approx(machine.memory(sizes), rel=1e-6)


@pytest.mark.parametrize("batch", [2, 4])
def test_of_a_tiny_batch_one_measurement_is_made_and_all_time_counts_as_work(batch: int):
    machine = Machine()
    sizes = Sizes(16, batch, 4, 3)
    scaling = Scaling(sizes, machine)
    assert machine.measured == [sizes]
    assert scaling(sizes._replace(image_size=32)).step == pytest.approx(4 * machine.step(sizes))


def test_times_that_do_not_grow_with_the_batch_are_overhead():
    machine = Machine(per_work=0.0)
    scaling = Scaling(LADDER[-1], machine)
    assert scaling(LADDER[0]).step == pytest.approx(machine.step(LADDER[0]))


def test_predictions_agree_with_what_was_measured_since():
    machine = Machine(surprise=3.0)
    scaling = Scaling(LADDER[-1], machine)
    scaling.correct(LADDER[1], machine(LADDER[1]))
    assert scaling(LADDER[1]).step == pytest.approx(machine.step(LADDER[1]))
    assert scaling(LADDER[2]).step == pytest.approx(machine.step(LADDER[2]))


MACHINES: list[Callable[[], Machine]] = [
    Machine,
    lambda: Machine(per_cell=0.05),
    lambda: Machine(per_work=1e-8),
    lambda: Machine(per_work=1e-10),
    lambda: Machine(surprise=2.0),
    lambda: Machine(surprise=0.7),
    lambda: Machine(per_volume=400.0),
]


@pytest.mark.parametrize("make", MACHINES)
@pytest.mark.parametrize("limit", [1.0, 10.0, 60.0, 600.0, 1e5])
def test_the_first_that_fits_is_taken_and_never_one_that_does_not(make: Callable[[], Machine], limit: float):
    machine = make()
    limits = Limits(limit, 4 * GIB, planning=float("inf"))
    sizes, measured = largest_that_fits(LADDER, machine, hundred_steps, limits)
    first = next((each for each in LADDER if fits(machine, each, limits)), LADDER[-1])
    assert sizes == first
    assert measured.step == machine.step(sizes)


def test_the_last_comes_back_though_it_takes_too_long():
    sizes, measured = largest_that_fits(LADDER, Machine(), hundred_steps, Limits(1e-6, 4 * GIB, 20.0))
    assert sizes == LADDER[-1]
    assert 100 * measured.step > 1e-6


def test_few_sizes_are_measured_and_none_that_is_hopeless():
    machine = Machine()
    sizes, _ = largest_that_fits(LADDER, machine, hundred_steps, Limits(10.0, 4 * GIB, 20.0))
    assert len(machine.measured) <= 4
    assert all(100 * machine.step(each) <= HOPE * 10.0 for each in machine.measured)
    assert machine.measured[-1] == sizes


@pytest.mark.parametrize("planning", [0.0, 0.5, 2.0, 8.0])
@pytest.mark.parametrize("surprise", [0.5, 1.0])
def test_measuring_takes_no_longer_than_planning_may(planning: float, surprise: float):
    machine = Machine(per_work=2e-9, surprise=surprise)
    limits = Limits(60.0, 4 * GIB, planning)
    sizes, measured = largest_that_fits(LADDER, machine, hundred_steps, limits)
    full = [each for each in machine.measured if each.batch_size == 64]
    assert sum(STEPS_MEASURED * machine.step(each) for each in full) <= planning / min(surprise, 1.0)
    if sizes != LADDER[-1]:
        assert 100 * machine.step(sizes) <= limits.seconds
        assert 100 * measured.step <= limits.seconds


def test_a_size_judged_by_prediction_alone_is_judged_cautiously():
    machine = Machine()
    expected = 100 * machine.step(LADDER[0])
    taken, _ = largest_that_fits(LADDER, machine, hundred_steps, Limits(1.1 * expected, 4 * GIB, planning=0.0))
    assert taken != LADDER[0]
    taken, _ = largest_that_fits(LADDER, machine, hundred_steps, Limits(1.1 * HOPE * expected, 4 * GIB, planning=0.0))
    assert taken == LADDER[0]


def test_what_was_measured_already_is_not_measured_again():
    machine = Machine()
    sizes = Sizes(16, 16, 4, 3)
    largest_that_fits([sizes], machine, hundred_steps, Limits(float("inf"), 4 * GIB, 20.0))
    assert machine.measured.count(sizes) == 1


# Memory


def test_sizes_that_memory_does_not_hold_are_never_tried():
    machine = Machine(per_volume=400.0)
    limits = Limits(float("inf"), 1 * GIB, 100.0)
    sizes, _ = largest_that_fits(LADDER, machine, hundred_steps, limits)
    assert sizes != LADDER[0]
    assert machine.memory(sizes) <= 0.9 * GIB
    assert all(machine.memory(each) <= 0.9 * GIB for each in machine.measured)


def test_memory_besides_that_of_the_step_counts_too():
    def with_images(sizes: Sizes, measured: Measured) -> tuple[float, int]:
        return 100 * measured.step, measured.memory + 3000 * sizes.image_size**2 * 100

    limits = Limits(float("inf"), 2 * GIB, 100.0)
    alone, _ = largest_that_fits(LADDER, Machine(), hundred_steps, limits)
    beside, _ = largest_that_fits(LADDER, Machine(), with_images, limits)
    assert beside.image_size < alone.image_size


def test_where_the_smallest_does_not_fit_the_batch_that_does_is_named():
    machine = Machine(per_volume=40_000.0)
    with pytest.raises(ValueError, match=r"batch_size 64 needs about .* batch_size \d+ would fit"):
        largest_that_fits(LADDER, machine, hundred_steps, Limits(60.0, 4 * GIB, 20.0))
    assert {sizes.batch_size for sizes in machine.measured} == {4, 16}


@pytest.mark.parametrize("absurd", [{"image_size": 10**6}, {"channels": 10**8}, {"cells": 10**9}])
def test_absurd_sizes_are_refused_without_trying_anything(absurd: dict[str, int]):
    machine = Machine()
    with pytest.raises(ValueError, match="Lower image_size, channels or cells"):
        largest_that_fits([LADDER[0]._replace(**absurd)], machine, hundred_steps, Limits(60.0, 4 * GIB, 20.0))
    assert machine.measured == []
