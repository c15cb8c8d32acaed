"""Parameters are counted once, candidate by candidate where asked."""

import doctest

import pytest
import torch
from torch import nn

import dnas.cost.params
from dnas.core.candidates import Zero
from dnas.core.cell import Cell
from dnas.core.choice import Choice, InputChoice
from dnas.cost import candidate_parameters, count_parameters
from dnas.space import DartsSpace


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.cost.params).failed == 0


def test_a_convolution_and_a_linear_layer_have_their_closed_forms():
    model = nn.Sequential(nn.Conv2d(6, 8, (3, 5), groups=2), nn.Linear(7, 9, bias=False))
    assert count_parameters(model) == 8 * 3 * 3 * 5 + 8 + 7 * 9


def test_a_tensor_used_twice_counts_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert count_parameters(model) == 16 + 4 + 4


def test_frozen_parameters_count_unless_left_out():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 20 + 10
    assert count_parameters(model, trainable_only=True) == 10


def test_buffers_do_not_count():
    assert count_parameters(nn.BatchNorm2d(5)) == 10


def test_choices_of_one_name_have_the_sum_and_connections_nothing():
    def choice(width: int) -> Choice:
        return Choice("op", {"linear": nn.Linear(width, width, bias=False), "none": Zero()})

    model = nn.ModuleList([choice(2), choice(3), InputChoice("from", ["a", "b"])])
    assert candidate_parameters(model) == {"op": [4.0 + 9.0, 0.0]}


def test_a_choice_that_stands_in_two_places_counts_once():
    shared = Choice("op", {"linear": nn.Linear(2, 2, bias=False)})
    assert candidate_parameters(nn.ModuleList([shared, shared])) == {"op": [4.0]}


def test_a_layer_in_several_candidates_counts_once_and_one_that_is_also_outside_costs_nothing():
    layer, outside = nn.Linear(2, 2), nn.Linear(2, 2)

    def choice(name: str) -> Choice:
        return Choice(name, {"a": layer, "b": nn.Sequential(layer, nn.Linear(2, 2)), "c": outside})

    model = nn.Sequential(choice("op"), choice("op"), outside)
    assert candidate_parameters(model) == {"op": [6.0, 6.0 + 2 * 6.0, 0.0]}
    with pytest.raises(ValueError, match=r"candidate 'a' of 'one' and the candidate 'a' of 'two' share weights"):
        candidate_parameters(nn.Sequential(choice("one"), choice("two")))


def test_a_cell_has_one_row_for_each_edge():
    edges = [(0, 1), (0, 2), (1, 2)]
    candidates = [{"linear": nn.Linear(3, 3), "skip": nn.Identity()} for _ in edges]
    cell = Cell("cell", edges, candidates, num_inputs=1, output=[2], edge_weights=True)
    assert candidate_parameters(cell) == {"cell": [[12.0, 0.0]] * 3}


def test_costs_have_the_shapes_of_the_decisions_of_a_space():
    space = DartsSpace(nodes=2)
    with torch.device("meta"):
        model = space.model(channels=4, cells=3, num_classes=10)
    costs = candidate_parameters(model)
    decisions = space.decisions()
    assert {name: torch.tensor(cost).shape for name, cost in costs.items()} == {
        name: decision.shape for name, decision in decisions.items()
    }
    # Two reduction cells of 8 and 16 channels: sep_conv_3x3 has two depthwise and two pointwise convolutions.
    assert costs["reduce"][0][4] == sum(2 * (9 * c + c * c) for c in (8, 16))


def test_a_model_without_choice_and_nested_choices_are_refused_by_name():
    with pytest.raises(ValueError, match="Linear holds no choice"):
        candidate_parameters(nn.Linear(2, 2))
    nested = Choice("outer", {"inner": Choice("inner", {"a": nn.Identity()}), "b": nn.Identity()})
    with pytest.raises(ValueError, match=r"candidates of 'outer' hold choices of their own \(inner\)"):
        candidate_parameters(nested)
