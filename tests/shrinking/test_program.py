"""The integer program finds what trying everything finds."""

from __future__ import annotations

import itertools
import random

import pytest

from dnas.shrinking.costs import Cost, Polynomial, flops_of, parameters_of
from dnas.shrinking.groups import find_groups
from dnas.shrinking.program import Bound, Program
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from tests.support.shrinking import made


def program_of(name: str) -> tuple[Program, Cost, Cost]:
    """Three widths for each group of a model, and its blocks."""
    model, example = made(name)
    structure = verified(model, example, find_groups(trace(model, example)))
    values: dict[str, list[int]] = {block.name: [0, 1] for block in structure.blocks}
    inside = {}
    for group in structure.groups:
        block = structure.block_of(group.name)
        values[group.name] = [max(1, len(group) // 4), max(1, len(group) // 2), len(group)]
        if block is not None:
            inside[group.name] = block.name
            values[group.name].insert(0, 0)
    return Program(values, inside), flops_of(structure), parameters_of(structure)


def all_choices(program: Program):
    for chosen in itertools.product(*program.values.values()):
        values = dict(zip(program.values, chosen, strict=True))
        if all((values[group] == 0) == (values[block] == 0) for group, block in program.inside.items()):
            yield values


def score_of(scores: dict[tuple[str, int], float], values: dict[str, int]) -> float:
    return sum(scores[item] for item in values.items())


@pytest.mark.parametrize("name", ["plain", "resnet", "mobile", "dense"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_best_within_two_limits_is_what_trying_everything_finds(name: str, share: float):
    program, flops, parameters = program_of(name)
    generator = random.Random(0)
    scores = {(name, value): generator.random() * value for name, some in program.values.items() for value in some}
    most = {name: max(some) for name, some in program.values.items()}
    bounds = [Bound(flops, share * flops.of(most)), Bound(parameters, 1.1 * share * parameters.of(most))]
    found = program.best(scores, bounds)
    assert found is not None
    within = [values for values in all_choices(program) if all(bound.cost.of(values) <= bound.most for bound in bounds)]
    assert found in within
    assert score_of(scores, found) == pytest.approx(max(score_of(scores, values) for values in within), rel=1e-9)


@pytest.mark.parametrize("name", ["plain", "resnet"])
def test_the_cheapest_is_what_trying_everything_finds(name: str):
    program, flops, parameters = program_of(name)
    for cost in (flops, parameters):
        found = program.cheapest(cost)
        assert found is not None
        assert cost.of(found) == min(cost.of(values) for values in all_choices(program))


def test_a_limit_below_the_cheapest_has_no_answer():
    program, flops, _ = program_of("plain")
    cheapest = program.cheapest(flops)
    assert cheapest is not None
    assert program.best({}, [Bound(flops, flops.of(cheapest) - 1)]) is None
    assert program.best({}, [Bound(flops, flops.of(cheapest))]) == cheapest


def test_a_limit_is_never_passed_by_the_solvers_tolerance():
    cost = Polynomial({("a",): 1e9, (): 1.0})
    program = Program({"a": [1, 2]}, {})
    assert program.best({("a", 2): 1.0}, [Bound(cost, 2e9 + 0.5)]) == {"a": 1}
    assert program.best({("a", 2): 1.0}, [Bound(cost, 2e9 + 1)]) == {"a": 2}
