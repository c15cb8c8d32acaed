"""Predicted milliseconds: sums over operators, by tables of pairs of widths; a limit that is kept as measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from dnas.cost.budget import Budget
from dnas.cost.flops import Inputs
from dnas.cost.params import count_parameters
from dnas.shrinking.budget import WidthLimits
from dnas.shrinking.deciding import Worth, decide
from dnas.shrinking.expected import own_values
from dnas.shrinking.memory import Memory
from dnas.shrinking.milliseconds import Predicted, predicted_milliseconds
from dnas.shrinking.operations import OperationTimes
from dnas.shrinking.program import Bound, Program
from dnas.shrinking.searchable import make_searchable
from dnas.shrinking.time_table import TimeTable
from dnas.system.display import Silent
from dnas.system.errors import UserError
from tests.support.shrinking import made


@dataclass(frozen=True)
class Counted:
    """In the place of a clock: a number that is known."""

    milliseconds: float

    def turn(self) -> None: ...


def numbers(operator: nn.Module, inputs: tuple[Tensor, ...]) -> Counted:
    """How many numbers an operator is given."""
    return Counted(float(sum(tensor.numel() for tensor in inputs)))


def numbers_of_all(network: nn.Module, example: Inputs) -> Counted:
    times = OperationTimes(numbers)
    return Counted(sum(times.milliseconds(one) for one in times.of(network, example)))


@pytest.mark.parametrize(("name", "tolerance"), [("resnet", 1e-9), ("vit", 1e-9), ("dense", 0.05)])
def test_the_prediction_is_the_sum_over_the_operators_of_the_network(name: str, tolerance: float):
    """Every width is measured, so nothing is interpolated; but of three widths in one operator each counts alone."""
    model, example = made(name)
    searchable = make_searchable(model, example)
    program = searchable.program(3)
    found = predicted_milliseconds(searchable, program, example, operator=numbers, whole=numbers_of_all)
    again = Predicted.from_data(found.to_data())
    generator = torch.Generator().manual_seed(1)
    ranking = {group.name: range(len(group)) for group in searchable.structure.groups}
    for _ in range(5):
        options = {name: own_values(program, name) for name in program.values}
        values = {name: some[int(torch.randint(len(some), (), generator=generator))] for name, some in options.items()}
        values = searchable.consistent(values)
        network = searchable.derive(searchable.selection(values, ranking))
        assert again.table.of(values) == pytest.approx(numbers_of_all(network, example).milliseconds, rel=tolerance)
    assert found.whole == numbers_of_all(model, example).milliseconds


def test_the_smallest_network_is_among_those_that_are_measured():
    model, example = made("resnet")
    searchable = make_searchable(model, example)
    program, sizes = searchable.program(3), []

    def whole(network: nn.Module, example: Inputs) -> Counted:
        sizes.append(count_parameters(network))
        return numbers_of_all(network, example)

    predicted_milliseconds(searchable, program, example, operator=numbers, whole=whole)
    cheapest = program.cheapest(searchable.parameters)
    assert cheapest is not None and min(sizes) == searchable.parameters.of(cheapest)


def test_a_table_is_linear_between_its_knots_and_0_without_its_block():
    table = TimeTable(
        1.0,
        {"a": (2, 4), "b": (1,), "c": (1, 3)},
        {("a", "c"): {(2, 1): 10.0, (2, 3): 20.0, (4, 1): 30.0, (4, 3): 60.0}, ("a", "b"): {(2, 1): 5.0, (4, 1): 9.0}},
    )
    assert table.of({"a": 2, "b": 1, "c": 3}) == 1 + 20 + 5
    assert table.of({"a": 3, "b": 1, "c": 2}) == 1 + (10 + 20 + 30 + 60) / 4 + 7
    assert table.of({"a": 4, "b": 0, "c": 1}) == 1 + 30
    assert table.of({"a": 9, "b": 0, "c": 9}) == 1 + 60
    single, pairs, constant, _ = table.by_value({"a": (2, 4), "b": (0, 1), "c": (1,)})
    assert constant == 1 and not single
    assert pairs[("a", 4), ("b", 1)] == 9 and pairs[("a", 4), ("b", 0)] == 0 and pairs[("a", 2), ("c", 1)] == 10


def limits(most: float) -> WidthLimits:
    """A width of 1 to 8, of as many milliseconds."""
    table = TimeTable(0.0, {"a": (1, 8)}, {("a",): {(1,): 1.0, (8,): 8.0}})
    return WidthLimits(Program({"a": range(1, 9)}, {}), Budget((f"milliseconds<={most}",)), [Bound(table, most)])


WORTH = Worth({}, {("a", value): float(value) for value in range(1, 9)}, 0.0)


def test_a_network_that_takes_longer_than_predicted_tightens_the_limit():
    found = decide(limits(6.0), WORTH, lambda values: 1.5 * values["a"], Memory(None, {}), Silent())
    # 6 took 9 milliseconds; within 6 (6 / 9) = 4 predicted ones, 4 takes 6.
    assert (found.values, found.milliseconds) == ({"a": 4}, 6.0)
    assert found.factor == pytest.approx(6 / 9)


def test_after_three_tighter_limits_it_is_refused_with_the_figure():
    tried = []

    def measure(values: Mapping[str, int]) -> float:
        tried.append(values["a"])
        return 6.01

    with pytest.raises(UserError, match=r"takes 6 milliseconds or less as measured: the last of 4 took 6\.01"):
        decide(limits(6.0), WORTH, measure, Memory(None, {}), Silent())
    assert len(tried) == 8  # each is measured again before it counts as too slow


def test_where_predictions_are_too_high_looser_limits_are_tried_until_the_limit_is_used():
    found = decide(limits(6.0), WORTH, lambda values: 0.8 * values["a"], Memory(None, {}), Silent())
    # 6 took 4.8 milliseconds; within 6 (6 / 4.8) = 7.5 predicted ones, 7 takes 5.6, and 6.4 of 8 would be too long.
    assert (found.values, found.milliseconds) == ({"a": 7}, pytest.approx(5.6))


def test_a_disturbance_of_one_measurement_does_not_tighten_the_limit():
    times = iter([60.0, 6.0])
    found = decide(limits(6.0), WORTH, lambda values: next(times), Memory(None, {}), Silent())
    assert (found.values, found.factor, found.milliseconds) == ({"a": 6}, 1.0, 6.0)


def test_a_limit_that_was_tightened_below_all_networks_leaves_the_fastest():
    took = {6: 60.0, 1: 5.9}
    found = decide(limits(6.0), WORTH, lambda values: took[values["a"]], Memory(None, {}), Silent())
    assert (found.values, found.milliseconds) == ({"a": 1}, 5.9)


def test_after_a_limit_that_was_tightened_too_far_the_middle_is_tried():
    # 6 seems to take 12: tightened to 3, which uses half; between 0.5 and 1 comes 0.75, and 4 fit.
    took = {6: 12.0, 3: 3.0, 4: 5.9}
    found = decide(limits(6.0), WORTH, lambda values: took[values["a"]], Memory(None, {}), Silent())
    assert (found.values, found.factor) == ({"a": 4}, 0.75)


class _Folding(nn.Module):
    """Runs another operator where it is narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y.relu() if y.shape[1] > 4 else y.relu().mul(1.0))


def test_a_model_whose_operators_change_with_its_widths_is_refused():
    example = torch.zeros(1, 4)
    searchable = make_searchable(_Folding(), example)
    with pytest.raises(UserError, match="which operators it runs changes with the width of first"):
        predicted_milliseconds(searchable, searchable.program(4), example, operator=numbers, whole=numbers_of_all)


def test_operators_are_known_by_their_blocks_and_views_are_left_out():
    model, example = made("resnet")
    found = OperationTimes(numbers).of(model, example, ["layers.0"])
    inside = [one.name for one in found if one.block == "layers.0"]
    assert inside.count("convolution") == 2 and inside.count("add") == 1
    assert not any(one.name == "view" for one in found)
