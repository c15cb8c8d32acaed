"""Sizes and epochs fit the time and the memory, whatever a machine's steps take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnas.data import Catalog, open_source
from dnas.fit import Measure, Measured, Sizes
from dnas.job import Job
from dnas.plan import END_OF_EPOCH, LADDER, MARGIN, START_AND_END, Plan, plan_retraining, plan_sizes
from dnas.retrain import RetrainSettings

GIB = 2**30
PLANNING = 20.0  # seconds for measuring


def catalog(*, images: int = 1000, pixels: int = 224) -> Catalog:
    """A data set of so many images that nobody reads."""
    return replace(open_source("digits"), num_train=images, num_test=0, native_size=pixels)


def machine(seconds_per_work: float) -> Measure:
    """A machine whose steps take time in proportion to the work, and one GiB of memory."""

    def measure(sizes: Sizes) -> Measured:
        step = seconds_per_work * sizes.work
        return Measured(step, step / 2, step / 4, GIB)

    return measure


def planned(job: Job, seconds_per_work: float, *, available: int = 64 * GIB, of: Catalog | None = None) -> Plan:
    return plan_sizes(
        job, of or catalog(), machine(seconds_per_work), reading=1.0, available=available, planning=PLANNING
    )


def test_a_fast_machine_gets_the_largest_sizes() -> None:
    job = planned(Job(time="30min"), 1e-12).job
    assert (job.image_size, job.channels, job.cells) == LADDER[0]
    assert job.search.epochs == 50


@pytest.mark.parametrize("seconds_per_work", [1e-9, 1e-8, 3e-8, 1e-7])
def test_what_is_promised_fits_the_time(seconds_per_work: float) -> None:
    plan = planned(Job(time="300h"), seconds_per_work)
    assert plan.seconds <= 300 * 3600


def test_slower_machines_get_smaller_sizes_then_fewer_epochs() -> None:
    works = [Sizes(p.image_size or 0, 64, p.channels or 0, p.cells or 0).work for p in _jobs(1e-9, 1e-8, 1e-7)]
    assert works[0] > works[1] > works[2]
    # 425 images in each half are 9 batches of 53; an evaluation takes a quarter of a step.
    step = 1e-6 * Sizes(16, 53, 4, 3).work
    epoch = MARGIN * (9 * 1.25 * step + END_OF_EPOCH)
    seconds = PLANNING + START_AND_END + MARGIN * 1.0 + 25.5 * epoch
    job = planned(Job(time=f"{seconds}s"), 1e-6).job
    assert (job.image_size, job.channels, job.cells) == LADDER[-1]
    assert job.search.epochs == 25


def _jobs(*seconds_per_work: float) -> list[Job]:
    return [planned(Job(time="10min"), speed).job for speed in seconds_per_work]


def test_what_is_given_stays() -> None:
    job = planned(Job(time="30min", channels=6, image_size=40), 1e-12).job
    assert (job.channels, job.image_size) == (6, 40)


def test_images_are_not_made_larger_than_they_are() -> None:
    assert planned(Job(), 1e-12, of=catalog(pixels=28)).job.image_size == 28


def test_a_time_that_is_too_short_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(ValueError, match=r"10min is too short: the search needs --time \d+min for 10 epochs"):
        planned(Job(time="10min"), 1.0)


def test_memory_that_does_not_hold_the_smallest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"(?i)memory"):
        planned(Job(channels=4000, cells=400), 1e-12, available=GIB)


def test_retraining_is_lowered_to_its_time_and_left_alone_without() -> None:
    settings = RetrainSettings()
    sizes = {"image_size": 32, "num_images": 800, "num_held_out": 80, "available": 64 * GIB}

    def plan(time: str | None) -> tuple[RetrainSettings, float]:
        found = plan_retraining(settings, machine(2e-8), time=time, planning=0.0, **sizes)  # type: ignore[arg-type]
        return found.settings, found.seconds

    assert plan(None)[0] == settings
    chosen, seconds = plan("30min")
    assert seconds <= 1800
    assert (chosen.channels, chosen.epochs) < (settings.channels, settings.epochs)
