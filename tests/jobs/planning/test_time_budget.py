"""Shares of the time given: for planning, and for the work."""

import pytest

from dnas.jobs.planning.time_budget import PLANNING_SECONDS, enough_time, planning_seconds
from dnas.system.words import seconds_in


@pytest.mark.parametrize("needed", [1.0, 50.0, 110.0, 500.0, 5000.0])
def test_enough_time_leaves_room_for_planning_and_not_much_more(needed: float):
    time = seconds_in(enough_time(needed))
    assert needed <= time - planning_seconds(enough_time(needed)) <= needed + 62


def test_planning_takes_a_tenth_of_the_time_at_most_twenty_seconds():
    assert planning_seconds("90s") == pytest.approx(9)
    assert planning_seconds("10h") == planning_seconds(None) == PLANNING_SECONDS
