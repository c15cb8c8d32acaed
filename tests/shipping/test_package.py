"""A trained network as network.pt and network.json."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dnas.core.run import Run
from dnas.shipping.package import read_spec, read_weights, save_network, try_to_save
from dnas.system.errors import UserError
from dnas.system.tensor_file import save_tensors
from tests.support.network_spec import ARCHITECTURE, BUILDER, INTERFACE, MODULE_SPEC, SPEC


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


def test_weights_may_hold_nothing_but_tensors(tmp_path: Path):
    save_tensors(tmp_path / "network.pt", {"layer.weight": torch.zeros(1), "steps": 3})
    with pytest.raises(ValueError, match=r"network.pt: 'steps' is a int; expected names with tensors"):
        read_weights(tmp_path)


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
