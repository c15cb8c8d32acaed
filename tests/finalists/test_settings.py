"""Rungs, and what they cost in all."""

import pytest

from dnas.finalists.settings import FinalistSettings, Rung
from dnas.system.errors import UserError


def test_rungs_halve_the_finalists_and_double_the_epochs():
    assert FinalistSettings(num=8, rungs=3, epochs=2).schedule == (Rung(0, 8, 0, 2), Rung(1, 4, 2, 4), Rung(2, 2, 6, 8))


def test_no_rung_has_a_single_network():
    assert [rung.num for rung in FinalistSettings(num=5, rungs=9).schedule] == [5, 3, 2]
    assert FinalistSettings(num=8).schedule_of(1) == ()


def test_epochs_and_trainings_in_all_count_newcomers_from_the_first_rung_on():
    settings = FinalistSettings(num=4, rungs=2, epochs=3, changes=2)
    assert settings.epochs_in_all == 4 * 3 + 2 * 6 + 2 * 3
    assert settings.num_trainings == 4 + 2 + 2
    assert FinalistSettings().epochs_in_all == FinalistSettings().num_trainings == 0


def test_at_least_two_finalists_are_not_guided():
    assert FinalistSettings(num=10, guided_share=0.7).num_guided == 7
    assert FinalistSettings(num=3, guided_share=1.0).num_guided == 1
    assert FinalistSettings(guided_share=1.0).num_guided == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 1}, "num of the finalists must be 0"),
        ({"rungs": 0}, "rungs of the finalists must be at least 1"),
        ({"factor": 1}, "factor of the finalists must be at least 2"),
        ({"changes": -1}, "changes of the finalists must be 0 or more"),
        ({"random_share": 1.5}, "random_share of the finalists must be from 0 to 1"),
        ({"guided_share": -0.1}, "guided_share of the finalists must be from 0 to 1"),
        ({"alone": True}, "nothing is searched"),
        ({"num": 2, "alone": True, "begin_with": "searched"}, "no searched weights"),
        ({"begin_with": "searched", "channels": 4}, "channels and cells of the search"),
        ({"num": 2**60, "rungs": 60}, "lower rungs"),
    ],
)
def test_a_value_out_of_its_range_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        FinalistSettings(**settings)
