"""A group that cannot be cut out stays as it is, named with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dnas.shrinking.groups import Frozen, find_groups
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from dnas.system.errors import UserError
from tests.support.shrinking import made


class HardCoded(nn.Module):
    """Reshapes by a number that stands in its source."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 1)
        self.out = nn.Sequential(nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x).view(-1, 16))


class WeightOfAllChannels(nn.Module):
    """Divides by a number of channels that is kept as a float."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.scale = nn.Linear(3, 8), nn.Linear(8, 2), 8.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y * self.scale / y.shape[-1])


def test_a_reshape_by_a_number_in_the_source_keeps_its_group_and_lets_others_go():
    model, example = HardCoded(), torch.ones(2, 1, 2, 2)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert [group.name for group in structure.groups] == ["out.0"]
    (frozen,) = (one for one in structure.frozen if one.name == "conv")
    assert frozen.reason.startswith("the smaller network fails: ")


def test_a_result_that_depends_on_the_number_of_channels_keeps_its_group():
    model, example = WeightOfAllChannels(), torch.ones(2, 3)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert not structure.groups
    (frozen,) = (one for one in structure.frozen if one.name == "first")
    assert frozen.reason.startswith("the smaller network differs from the masked one by ")


def test_what_decides_by_values_of_the_data_is_named():
    model, example = made("deciding")
    structure = find_groups(trace(model, example))
    assert Frozen("3.low.weight, dimension 1", "3 decides in Python by values of the data") in structure.frozen
    assert Frozen("2.weight, dimension 0", "3 decides in Python by values of the data") in structure.frozen


def test_an_lstm_is_named():
    model, example = made("recurrent")
    structure = find_groups(trace(model, example))
    assert Frozen("lstm.weight_ih_l0, dimension 0", "lstm is a LSTM") in structure.frozen


def test_a_layer_that_the_example_does_not_reach_is_named():
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    structure = find_groups(trace(Half(), torch.ones(1, 2)))
    assert Frozen("unused.weight, dimension 0", "the example does not reach it") in structure.frozen


def test_an_example_that_the_model_refuses_is_a_users_mistake():
    with pytest.raises(UserError, match="refuses the example inputs"):
        trace(nn.Linear(3, 2), torch.ones(1, 4))


def test_a_model_that_cannot_be_copied_is_a_users_mistake():
    model = nn.Linear(2, 2)
    model.extra = torch.ones(2, requires_grad=True) * 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match="cannot be copied"):
        trace(model, torch.ones(1, 2))
