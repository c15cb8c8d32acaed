"""Budgets as people write them."""

import doctest

import pytest

import dnas.cost.budget
from dnas.cost.budget import Budget, Limit
from dnas.system.errors import UserError


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.cost.budget).failed == 0


@pytest.mark.parametrize(
    ("text", "unit", "number", "is_share"),
    [
        ("flops<=50%", "flops", 0.5, True),
        (" multiadds <= 600M ", "multiadds", 6e8, False),
        ("parameters<=300k", "parameters", 3e5, False),
        ("milliseconds<=8", "milliseconds", 8.0, False),
        ("FLOPs<=1.5G", "flops", 1.5e9, False),
        ("flops<=2e6", "flops", 2e6, False),
        ("flops<=100%", "flops", 1.0, True),
    ],
)
def test_a_limit_is_a_unit_and_a_number(text, unit, number, is_share):
    assert Limit.parse(text) == Limit(unit, number, is_share)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flops=50%", "UNIT<=NUMBER"),
        ("flops", "UNIT<=NUMBER"),
        ("flops>=3", "UNIT<=NUMBER"),
        ("joules<=3", "unit 'joules'; known are flops, multiadds, parameters, milliseconds"),
        ("flops<=much", "needs a number above 0"),
        ("flops<=", "needs a number above 0"),
        ("flops<=0", "needs a number above 0"),
        ("flops<=-3", "needs a number above 0"),
        ("flops<=nan", "needs a number above 0"),
        ("flops<=1e999", "needs a number above 0"),
        ("flops<=50 percent", "needs a number above 0"),
        ("flops<=120%", "above 100 %"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_came_and_what_was_expected(text, message):
    with pytest.raises(UserError, match=message) as error:
        Limit.parse(text)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("limits", "message"),
    [((), "one limit or more"), (("flops<=50%", "flops<=3M"), "one limit in flops")],
)
def test_a_budget_has_one_limit_or_more_and_each_unit_once(limits, message):
    with pytest.raises(UserError, match=message):
        Budget(limits)


@pytest.mark.parametrize("text", ["flops<=50%", "parameters<=300000", "milliseconds<=8.5"])
def test_a_limit_is_written_as_it_is_read(text):
    assert str(Limit.parse(text)) == text
