"""dnas.package: a trained network as network.pt and network.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.data.normalization import Normalization
from dnas.data.resize import ResizeRule
from dnas.shipping.interface import Interface
from dnas.shipping.package import read_spec, read_weights, save_network, try_to_save
from dnas.shipping.spec import ModuleBuilder, NetworkSpec, SpaceBuilder
from dnas.space import DartsSpace
from dnas.system.errors import UserError
from dnas.system.tensor_file import save_tensors

RGB = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
INTERFACE = Interface(("cat", "dog", "Küken"), ResizeRule(16), RGB)
ARCHITECTURE = DartsSpace(nodes=1).random(torch.Generator().manual_seed(0))
BUILDER = SpaceBuilder(channels=2, cells=1, num_classes=3, in_channels=3, auxiliary=True)
SPEC = NetworkSpec(ARCHITECTURE, BUILDER, INTERFACE)
MODULE_SPEC = NetworkSpec(Architecture({"act": "relu"}), ModuleBuilder(), INTERFACE)


@pytest.mark.parametrize("spec", [SPEC, MODULE_SPEC])
def test_a_specification_survives_its_json(spec: NetworkSpec):
    assert NetworkSpec.from_json(spec.to_json()) == spec


def test_the_json_spells_out_what_other_programs_need():
    data = json.loads(SPEC.to_json())
    assert data["class_names"] == ["cat", "dog", "Küken"]
    assert data["input"] == {"channels": 3, "height": 16, "width": 16}
    assert data["resize"] == {"rule": "shorter_side_center_crop", "size": 16}
    assert (data["mean"], data["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    assert data["builder"] == {
        "kind": "space",
        "channels": 2,
        "cells": 1,
        "num_classes": 3,
        "in_channels": 3,
        "stem": "cifar",
        "auxiliary": True,
    }


def test_a_saved_network_is_read_back_bit_by_bit(tmp_path: Path):
    network = BUILDER.network(ARCHITECTURE).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    save_network(Run(tmp_path), network, SPEC)
    assert read_spec(tmp_path) == read_spec(tmp_path / "network.json") == SPEC
    weights = read_weights(tmp_path)
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


def test_a_view_is_saved_without_the_memory_it_looks_into(tmp_path: Path):
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = nn.Parameter(torch.zeros(100_000, 2)[:2])
    save_network(Run(tmp_path), layer, MODULE_SPEC)
    assert (tmp_path / "network.pt").stat().st_size < 10_000


def test_a_network_that_its_builder_does_not_make_is_refused_when_it_is_saved(tmp_path: Path):
    network = replace(BUILDER, channels=4).network(ARCHITECTURE)
    with pytest.raises(ValueError, match=r"stem.conv.weight is .*\(12, 3, 3, 3\) there and .*\(6, 3, 3, 3\) here"):
        save_network(Run(tmp_path), network, SPEC)
    assert not any(tmp_path.iterdir())


def test_state_other_than_tensors_is_refused_when_it_is_saved(tmp_path: Path):
    class Counting(nn.Module):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

    with pytest.raises(ValueError, match=r"'_extra_state' is a dict; only tensors"):
        save_network(Run(tmp_path), Counting(), MODULE_SPEC)


@pytest.mark.parametrize(("change", "message"), [
    ({"num_classes": 4}, r"built for 4 classes, but there are 3 names of classes"),
    ({"in_channels": 1}, r"built for 1 channels, but there are 3 channels in mean and std"),
])  # fmt: skip
def test_builder_and_interface_must_agree(change: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(ARCHITECTURE, replace(BUILDER, **change), INTERFACE)  # type: ignore[arg-type]


def test_an_interface_without_classes_is_refused():
    with pytest.raises(ValueError, match="needs the names of its classes"):
        Interface((), ResizeRule(8), RGB)


@pytest.mark.parametrize(("entries", "message"), [
    ({"format": "other"}, 'expected an object with "format": "dnas-network"'),
    ({"format_version": 2}, "has format_version 2; this dnas reads 1"),
    ({"colour": "red"}, r"unknown entries \['colour'\]"),
    ({"dnas": 1}, "dnas must be a text; got 1"),
    ({"class_names": "cat"}, "class_names must be a list; got 'cat'"),
    ({"class_names": []}, "class_names must be a list of one or more names"),
    ({"class_names": ["cat", 2, "dog"]}, r"class_names must be .* names; got \['cat', 2, 'dog'\]"),
    ({"class_names": ["cat", "dog"]}, "built for 3 classes, but there are 2 names of classes"),
    ({"input": {"channels": 3, "height": 8, "width": 16}}, "input.height is 8, but mean, std and resize are for 16"),
    ({"input": {"channels": 3, "height": 16}}, "input.width is missing"),
    ({"resize": {"rule": "stretch", "size": 16}}, "Unknown resize rule 'stretch'"),
    ({"resize": {"rule": "shorter_side_center_crop", "size": 0}}, "resize.size must be a whole number from 1"),
    ({"resize": {"rule": "shorter_side_center_crop", "size": 16, "crop": 1}}, r"unknown entries \['crop'\] in resize"),
    ({"mean": [0.5, "x", 0.3]}, "mean must be a list of numbers"),
    ({"mean": [0.5, float("nan"), 0.3]}, "is not JSON: NaN is no finite number"),
    ({"std": [0.2, 0.0, 0.3]}, "one deviation over 0 for each channel"),
    ({"std": [0.2]}, "one mean and one deviation over 0"),
    ({"builder": {"kind": "pickle"}}, "builder.kind must be 'space' or 'module'; got 'pickle'"),
    ({"builder": {"kind": "module", "cells": 3}}, r"unknown entries \['cells'\] in builder"),
    ({"architecture": None}, "architecture must be an object; got None"),
    ({"architecture": {"format": "x"}}, "architecture is not an architecture"),
])  # fmt: skip
def test_a_wrong_entry_is_named_with_its_file_and_place(tmp_path: Path, entries: dict, message: str):
    path = tmp_path / "network.json"
    path.write_text(json.dumps({**json.loads(SPEC.to_json()), **entries}))
    with pytest.raises(ValueError, match=message) as error:
        read_spec(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("entries", "message"), [
    ({"channels": True}, "builder.channels must be a whole number; got True"),
    ({"channels": 2.0}, "builder.channels must be a whole number; got 2.0"),
    ({"cells": 10**30}, "builder.cells must be a whole number from 1 to 1,000,000"),
    ({"auxiliary": 1}, "builder.auxiliary must be true or false; got 1"),
    ({"stem": "tree"}, "builder.stem must be 'cifar' or 'imagenet'; got 'tree'"),
    ({"stem": ["cifar"]}, "builder.stem must be"),
])  # fmt: skip
def test_a_wrong_entry_of_the_builder_is_named(entries: dict, message: str):
    data = json.loads(SPEC.to_json())
    data["builder"] |= entries
    with pytest.raises(ValueError, match=message):
        NetworkSpec.from_json(json.dumps(data))


def test_a_missing_entry_is_named():
    for name in ("class_names", "input", "resize", "mean", "std", "builder", "architecture", "dnas"):
        data = json.loads(SPEC.to_json())
        del data[name]
        with pytest.raises(ValueError, match=f"{name} is missing"):
            NetworkSpec.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null"])
def test_a_damaged_specification_is_named(tmp_path: Path, text: str):
    (tmp_path / "network.json").write_text(text)
    with pytest.raises(ValueError, match=r"network.json (is not JSON|describes no network)"):
        read_spec(tmp_path)


def test_a_specification_in_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "network.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"network.json is not UTF-8"):
        read_spec(tmp_path)


def test_weights_may_hold_nothing_but_tensors(tmp_path: Path):
    save_tensors(tmp_path / "network.pt", {"layer.weight": torch.zeros(1), "steps": 3})
    with pytest.raises(ValueError, match=r"network.pt: 'steps' is a int; expected names with tensors"):
        read_weights(tmp_path)


# Before a training


def test_a_trial_leaves_nothing_behind(tmp_path: Path):
    try_to_save(Run(tmp_path), nn.Linear(4, 3), MODULE_SPEC)
    assert not list(tmp_path.iterdir())


def test_names_that_cannot_be_written_are_found_before_a_training(tmp_path: Path):
    spec = replace(MODULE_SPEC, interface=replace(INTERFACE, class_names=("rose", "caf\udce9", "tulip")))
    with pytest.raises(UserError, match="in the name of a class, is no UTF-8"):
        try_to_save(Run(tmp_path), nn.Linear(4, 3), spec)
    assert not list(tmp_path.iterdir())


def test_too_little_room_is_found_before_a_training(tmp_path: Path):
    network = nn.Linear(1, 1)
    network.register_buffer("huge", torch.empty(10**15, device="meta"))
    with pytest.raises(ValueError, match=r"MB free, and the checkpoints and weights of this training take about"):
        try_to_save(Run(tmp_path), network, MODULE_SPEC)


def test_no_flipped_bit_of_network_json_is_read_as_another_network(tmp_path: Path):
    save_network(Run(tmp_path), nn.Linear(4, 3), MODULE_SPEC)
    path = tmp_path / "network.json"
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 7):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"network\.json"):
            read_spec(tmp_path)


def test_network_json_of_an_earlier_dnas_or_of_a_persons_hand_has_no_digest_and_is_read(tmp_path: Path):
    (tmp_path / "network.json").write_text(MODULE_SPEC.to_json())
    assert read_spec(tmp_path) == MODULE_SPEC
