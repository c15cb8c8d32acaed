"""From a name and arguments to a space."""

from dataclasses import replace

import pytest
import torch

from dnas.core.architecture import Architecture
from dnas.core.schedule import Linear
from dnas.space import DartsSpace, NasBench201Space, ReducedDartsSpace, Space, space_named, space_of

SPACES = [
    DartsSpace(),
    DartsSpace(nodes=2, candidates=("none", "sep_conv_3x3"), edge_weights=True),
    DartsSpace(partial_channels=4, edge_weights=True),
    ReducedDartsSpace(number=1),
    NasBench201Space(),
    NasBench201Space(partial_channels=2),
]


@pytest.mark.parametrize("space", SPACES)
def test_an_architecture_leads_back_to_its_space_also_through_json(space: Space):
    architecture = space.random(torch.Generator().manual_seed(0))
    assert space_of(architecture) == space
    again = Architecture.from_json(architecture.to_json())
    assert space_of(again) == space
    assert again == architecture


def test_arguments_that_are_left_out_keep_their_defaults():
    assert space_named("darts", {"nodes": 3}) == DartsSpace(nodes=3)


@pytest.mark.parametrize(
    "space",
    [
        DartsSpace(drop_path=Linear(0.0, 0.2)),
        ReducedDartsSpace(number=3, auxiliary_skip=Linear(1.0, 0.0)),
        NasBench201Space(skip_dropout=Linear(0.3, 0.0)),
    ],
)
def test_schedules_of_the_search_stay_out_of_architecture_files(
    space: DartsSpace | ReducedDartsSpace | NasBench201Space,
):
    architecture = Architecture.from_json(space.random(torch.Generator()).to_json())
    found = space_of(architecture)
    assert found == replace(space, drop_path=None, auxiliary_skip=None, skip_dropout=None)
    found.check(architecture)


def test_an_unknown_space_is_refused_with_the_list():
    architecture = replace(NasBench201Space().random(torch.Generator()), space="mobilenet")
    with pytest.raises(ValueError, match=r"no space 'mobilenet'; known are darts, reduced_darts, nasbench201"):
        space_of(architecture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 3}, "no argument 'depth'"),
        ({"nodes": "4"}, "'nodes' must look like 4; got '4'"),
        ({"nodes": True}, "'nodes' must look like 4; got True"),
        ({"candidates": [1, 2]}, "'candidates' must look like"),
        ({"nodes": 0}, "nodes must be 1 or more"),
    ],
)
def test_wrong_arguments_from_a_file_are_refused(arguments: dict, message: str):
    with pytest.raises(ValueError, match=message):
        space_named("darts", arguments)
