"""A search of few steps does without a supernet."""

from dataclasses import replace

import pytest

from dnas import SearchSettings
from dnas.data import open_source
from dnas.finalists.settings import FEW_STEPS, FinalistSettings
from dnas.jobs.job import Job
from dnas.jobs.planning.few_steps import FEWEST, plan_by_steps
from dnas.jobs.planning.rate import alpha_steps
from dnas.jobs.planning.search_plan import Plan
from dnas.jobs.planning.time_budget import TooShort
from dnas.system.words import seconds_in

# 763 images in each half of the digits: 9 steps an epoch.
SIZED = Job(data="digits", time="5min", image_size=8, channels=4, cells=3, batch_size=85)
DIGITS = open_source("digits")


def planned(job: Job, epochs: int) -> Plan:
    """A plan that has time for so many epochs."""
    return Plan(replace(job, search=SearchSettings(epochs=epochs)), seconds=1.0, memory=1, reading=0.0, step=0.1)


def test_with_enough_steps_the_supernet_stays():
    found, why = plan_by_steps(SIZED, DIGITS, lambda job: planned(job, 34))
    assert alpha_steps(found.job, DIGITS) == 306 >= FEWEST
    assert (found.job.finalists, why) == (FinalistSettings(), None)


def test_a_search_of_135_steps_becomes_finalists_in_the_time_that_is_left_and_says_so():
    asked: list[Job] = []

    def plan(job: Job) -> Plan:
        asked.append(job)
        return planned(job, 15)

    found, why = plan_by_steps(SIZED, DIGITS, plan)
    assert why is not None
    assert "would take 135 steps" in why
    assert "--finalists 0" in why
    assert found.job.finalists == FEW_STEPS
    assert found.job.time == "5min"
    assert asked[1].time is not None
    assert 290 <= seconds_in(asked[1].time) <= 300


def test_where_not_even_two_finalists_fit_the_supernet_stays():
    def plan(job: Job) -> Plan:
        if job.finalists.alone:
            raise TooShort("5min is too short", "6min")
        return planned(job, 15)

    found, why = plan_by_steps(SIZED, DIGITS, plan)
    assert (found.job.finalists, why) == (FinalistSettings(), None)


def test_where_no_supernet_fits_finalists_may():
    def plan(job: Job) -> Plan:
        if not job.finalists.alone:
            raise TooShort("5min is too short", "6min")
        return planned(job, 15)

    found, why = plan_by_steps(SIZED, DIGITS, plan)
    assert why is not None
    assert why.startswith("There is no time for a supernet")
    assert found.job.finalists == FEW_STEPS


def test_where_neither_fits_it_is_said_what_finalists_need():
    def plan(job: Job) -> Plan:
        needed = "6min" if job.finalists.alone else "30min"
        raise TooShort(f"{job.time} is too short: the search needs --time {needed}", needed)

    with pytest.raises(TooShort, match=r"^5min is too short: the search needs --time 6min"):
        plan_by_steps(SIZED, DIGITS, plan)
