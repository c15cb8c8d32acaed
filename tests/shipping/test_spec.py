"""network.json: how to build a network and feed it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dnas.shipping.package import read_spec
from dnas.shipping.spec import NetworkSpec
from tests.support.network_spec import ARCHITECTURE, BUILDER, INTERFACE, MODULE_SPEC, SPEC


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


@pytest.mark.parametrize(("change", "message"), [
    ({"num_classes": 4}, r"built for 4 classes, but there are 3 names of classes"),
    ({"in_channels": 1}, r"built for 1 channels, but there are 3 channels in mean and std"),
])  # fmt: skip
def test_builder_and_interface_must_agree(change: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(ARCHITECTURE, replace(BUILDER, **change), INTERFACE)  # type: ignore[arg-type]


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
