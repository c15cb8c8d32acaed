"""A description adds up, agrees with torch's counter and leaves no trace."""

import copy
import doctest
import json

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import dnas.report.describe
from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.cost import count_parameters
from dnas.formats import published, read_nasbench201
from dnas.report.describe import NetworkStage, describe, describe_architecture
from dnas.space import DartsSpace, NasBench201Space, space_of

NB201 = read_nasbench201("|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|")
SMALL = {"channels": 4, "cells": 6, "num_classes": 10}


def counted(network: nn.Module, *shape: int) -> int:
    """FLOPs of a real forward pass, by torch's counter and none of our code."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops()


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.report.describe).failed == 0


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", ["DARTS_V2", "AMOEBANET"])
def test_networks_of_darts_agree_with_torch(name, stem):
    found = describe_architecture(published(name), **SMALL, input_size=64, stem=stem)
    network = DartsSpace().network(published(name), **SMALL, stem=stem)
    assert found.flops == counted(network, 3, 64, 64)
    assert found.parameters == count_parameters(network)


@pytest.mark.parametrize("architecture", [published("DARTS_V1"), NB201], ids=["darts", "nasbench201"])
def test_supernets_agree_with_torch(architecture):
    size = {"channels": 4, "cells": 3, "num_classes": 10}
    found = describe_architecture(architecture, **size, input_size=32, supernet=True)
    model = space_of(architecture).model(**size)
    assert (found.flops, found.parameters) == (counted(model, 3, 32, 32), count_parameters(model))


def test_the_network_of_nasbench201_agrees_with_torch():
    found = describe_architecture(NB201, channels=4, cells=2, num_classes=10, input_size=16, in_channels=1)
    network = NasBench201Space().network(NB201, channels=4, cells=2, num_classes=10, in_channels=1)
    assert (found.flops, found.parameters) == (counted(network, 1, 16, 16), count_parameters(network))


def test_the_published_numbers_of_parameters_are_met():
    def parameters(name: str, **size) -> int:
        return describe_architecture(published(name), **size).parameters

    cifar = {"channels": 36, "cells": 20, "num_classes": 10, "input_size": 32}
    assert parameters("DARTS_V2", **cifar, auxiliary=True) == 3_825_768
    imagenet = {"channels": 48, "cells": 14, "num_classes": 1000, "input_size": 224}
    assert parameters("DARTS_V2", **imagenet, stem="imagenet") == 4_718_752
    assert parameters("DARTS_V2", channels=8, cells=5, num_classes=10, input_size=32, supernet=True) == 394_210


def test_cells_of_one_resolution_are_one_stage():
    found = describe_architecture(published("DARTS_V2"), **SMALL, input_size=32)
    assert [(stage.name, stage.output_shape) for stage in found.stages] == [
        ("stem", (12, 32, 32)),
        ("blocks 0-1", (16, 32, 32)),
        ("blocks 2-3", (32, 16, 16)),
        ("blocks 4-5", (64, 8, 8)),
        ("classifier", (10,)),
    ]


def test_stages_add_up():
    for architecture, more in ((published("NASNET"), {"auxiliary": True}), (NB201, {})):
        found = describe_architecture(architecture, **SMALL, input_size=32, **more)
        assert sum(stage.parameters for stage in found.stages) == found.parameters
        assert sum(stage.flops for stage in found.stages) == found.flops


def test_the_auxiliary_head_has_parameters_but_takes_no_part():
    plain, found = (
        describe_architecture(published("DARTS_V2"), **SMALL, input_size=32, auxiliary=auxiliary)
        for auxiliary in (False, True)
    )
    assert found.stages[:-1] == plain.stages
    assert found.stages[-1] == NetworkStage("auxiliary_head", None, found.parameters - plain.parameters, 0)
    assert found.flops == plain.flops
    assert "Takes no part in evaluation: auxiliary_head." in found.to_text()
    assert "Takes no part" not in plain.to_text()


class Odd(nn.Module):
    """Parameters of its own, a shared layer, and outputs that are no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Sequential(self.first)
        self.pair = Pair()
        self.own = nn.Parameter(torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(self.second(self.first(x.flatten(1))))["left"] @ self.own


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"left": x, "right": x}


def test_any_network_is_described_by_its_parts():
    found = describe(Odd(), input_shape=(1, 2, 2))
    assert {stage.name: (stage.output_shape, stage.parameters) for stage in found.stages} == {
        "first": ((4,), 16),
        "second": ((4,), 0),
        "pair": ((4,), 0),
        "(itself)": ((), 8),
    }
    assert found.parameters == 24
    assert found.flops == 2 * (16 + 16 + 8) == sum(stage.flops for stage in found.stages)


def test_a_users_own_supernet_is_described():
    choice = Choice("kernel", {str(k): nn.Conv2d(2, 2, k, padding=k // 2, bias=False) for k in (1, 3)})
    found = describe(nn.Sequential(choice), input_shape=(2, 5, 5))
    assert (found.parameters, found.flops) == (4 * 10, 2 * 25 * 4 * 10)


def test_describing_leaves_weights_buffers_and_modes_as_they_were():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    describe(network, input_shape=(1, 3, 3))
    assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert not network[0]._forward_hooks


def test_float64_networks_are_described_too():
    assert describe(nn.Sequential(nn.Conv2d(1, 2, 1).double()), input_shape=(1, 3, 3)).flops == 36


def test_json_holds_everything():
    found = describe_architecture(published("DARTS_V2"), **SMALL, input_size=32, auxiliary=True)
    data = json.loads(found.to_json())
    assert (data["parameters"], data["flops"], data["input_shape"]) == (found.parameters, found.flops, [3, 32, 32])
    assert data["stages"][1] == {
        "name": "blocks 0-1",
        "output_shape": [16, 32, 32],
        "parameters": found.stages[1].parameters,
        "flops": found.stages[1].flops,
    }
    assert data["stages"][-1]["output_shape"] is None


def test_the_table_is_aligned_and_ends_with_the_total():
    found = describe_architecture(published("DARTS_V2"), channels=36, cells=20, num_classes=10, input_size=32)
    lines = found.to_text().splitlines()
    table = lines[: len(found.stages) + 3]
    assert {len(line) for line in [*table[:1], *table[2:]]} == {len(table[0])}
    assert table[0].split() == ["stage", "output", "parameters", "FLOPs"]
    assert table[-1].split() == ["total", "3,349,342", "1,056,718,080"]
    assert "multi-adds: 528.4m" in lines[-1].lower()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 0}, "input_size must be 1 or more pixels; got 0"),
        ({"channels": 0}, "channels must be 1 or more; got 0"),
        ({"stem": "mnist"}, "stem must be 'cifar' or 'imagenet'; got 'mnist'"),
        ({"supernet": True, "auxiliary": True}, "A supernet has no auxiliary head"),
    ],
)
def test_what_cannot_be_built_is_told(change, message):
    with pytest.raises(ValueError, match=message):
        describe_architecture(published("DARTS_V2"), **{**SMALL, "input_size": 32, **change})


def test_an_architecture_of_a_users_own_module_has_no_network_to_describe():
    with pytest.raises(ValueError, match="no space 'module'"):
        describe_architecture(Architecture({"act": "relu"}), **SMALL, input_size=32)


def test_an_image_that_the_network_cannot_take_is_told():
    with pytest.raises(ValueError, match="Sequential cannot take images of 1 x 2 x 2"):
        describe(nn.Sequential(nn.Conv2d(1, 1, 5)), input_shape=(1, 2, 2))
