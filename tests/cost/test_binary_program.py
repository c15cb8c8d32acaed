"""Programs of zeros and ones: the best solution is what trying everything finds."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from dnas.cost.binary_program import BinaryProgram
from dnas.system.errors import UserError

FIRST, SECOND = ("a", "b", "c"), ("d", "e")


def program() -> BinaryProgram[str]:
    """Two choices, whose products are variables as well."""
    made = BinaryProgram([*FIRST, *SECOND])
    for choice in (FIRST, SECOND):
        made.add(dict.fromkeys(choice, 1.0), 1.0, 1.0)
    made.multiply(FIRST, SECOND)
    return made


def test_a_program_that_takes_too_long_is_told():
    with pytest.raises(UserError, match=r"5 choices, .* not solved within 0 seconds: give fewer choices"):
        program().best({}, lambda chosen: True, seconds=0.0)


def test_products_of_two_choices_have_scores_and_costs():
    for seed in range(10):
        random = Random(seed)
        pairs = list(itertools.product(FIRST, SECOND))
        keys = [*FIRST, *SECOND, *pairs]
        scores, costs = ({key: float(random.randint(-9, 9)) for key in keys} for _ in range(2))

        def total(numbers: dict, pair: tuple[str, str]) -> float:
            return sum(numbers[key] for key in (*pair, pair))

        most = sorted(total(costs, pair) for pair in pairs)[2]
        limited = program()
        limited.add(costs, -100.0, most)
        found = limited.best(scores, lambda chosen: True)
        assert found is not None
        one, other = found
        assert total(costs, (one, other)) <= most
        assert total(scores, (one, other)) == max(total(scores, pair) for pair in pairs if total(costs, pair) <= most)


def test_a_solution_that_does_not_fit_is_passed_over():
    scores = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 1.0}
    assert program().best(scores, lambda chosen: "a" not in chosen) == ["b", "d"]
    assert program().best(scores, lambda chosen: False) is None
