"""A trained network as two files: network.pt (its weights) and network.json (how to build and feed it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.run import WEIGHTS_FILE, Run
from dnas.core.trial_write import check_room, trial_folder
from dnas.shipping.safetensors_file import SAFETENSORS_FILE, read_safetensors
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.system.atomic import write_text
from dnas.system.difference import first_difference
from dnas.system.digest import sealed_json
from dnas.system.errors import UserError
from dnas.system.reading import read_json, read_text
from dnas.system.tensor_file import check_finite, load_tensors
from dnas.training.loop import MODULES, SUMMARY
from dnas.training.network_checks import digest_of_modules
from dnas.version import __version__

SPEC_FILE = "network.json"
# Beside a network that was derived from a user's own module.
MODULE_FILE, _MODULE_FORMAT, _MODULE_VERSION = "module.json", "dnas-module", 1


def save_network(run: Run, network: nn.Module, spec: NetworkSpec) -> None:
    """Write network.pt and network.json into the run's folder.

    Args:
        run: run of the retraining, whose folder is RUN/retrain, where `dnas.load` looks.
        network: the trained network, on any device; with its auxiliary head if the builder has one.
        spec: specification of this network.

    Raises:
        UserError: the builder makes another network, or the network's state holds more than tensors.
    """
    if isinstance(spec.builder, SpaceBuilder):
        check_state(skeleton(spec), network.state_dict(), source="The network")
    text = spec.to_json()
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{SPEC_FILE} cannot be written: {text[error.start - 10 : error.end + 10]!r}, in the name of a class, is "
            "no UTF-8. Rename the class."
        ) from error
    # Weights first: the folder counts as holding a network from the moment that it has a network.json.
    run.save_weights(network)
    write_text(run.path / SPEC_FILE, sealed_json(spec.to_data()))


def try_to_save(run: Run, network: nn.Module, spec: NetworkSpec) -> None:
    """Check before a training that it can be saved: there is room, and the network's files can be written and read.

    The files go into a folder of their own, which is removed.

    Args:
        run: run of the training; its folder exists.
        network: the network that is to be trained.
        spec: specification of this network.

    Raises:
        UserError: there is too little room on the disk, or as in `save_network` and `read_spec`.
    """
    check_room(run, network.state_dict(), "training")
    with trial_folder(run) as trial:
        save_network(trial, network, spec)
        read_spec(trial.path)


def read_spec(path: Path) -> NetworkSpec:
    """Read network.json in a folder, or that file itself.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file does not specify a network.
    """
    file = path / SPEC_FILE if path.is_dir() else path
    return NetworkSpec.from_json(read_text(file), source=str(file))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read network.pt in a folder, or network.safetensors where there is none; no code in them is run.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is damaged, holds a number that is not finite, or something other than tensors.
    """
    path = folder / WEIGHTS_FILE
    if not path.exists() and (folder / SAFETENSORS_FILE).exists():
        path = folder / SAFETENSORS_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no {WEIGHTS_FILE} and no {SAFETENSORS_FILE}, the weights that belong to its {SPEC_FILE}."
        )
    state = read_safetensors(path) if path.name == SAFETENSORS_FILE else load_tensors(path)
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {name!r} is a {type(value).__name__}; expected names with tensors only.")
    check_finite(state, source=str(path))
    return state


def write_module_file(folder: Path, network: nn.Module) -> None:
    """Write module.json, which says of which modules a network is."""
    data = {"format": _MODULE_FORMAT, "format_version": _MODULE_VERSION, "dnas": __version__}
    write_text(folder / MODULE_FILE, json.dumps({**data, MODULES: digest_of_modules(network)}, indent=2) + "\n")


def digests_in(folder: Path) -> set[str]:
    """The digests of the modules of a folder's network, from module.json and from what a training left.

    Raises:
        UserError: a damaged file.
    """
    found = set()
    for path in (folder / MODULE_FILE, folder / f"{SUMMARY}.json"):
        data = read_json(path) if path.exists() else {}
        if isinstance(data, dict) and isinstance(data.get(MODULES), str):
            found.add(data[MODULES])
    return found


def skeleton(spec: NetworkSpec) -> nn.Module:
    """The network that the builder of a space makes, without memory for its weights (on the 'meta' device)."""
    assert isinstance(spec.builder, SpaceBuilder)
    with torch.device("meta"):
        return spec.builder.network(spec.architecture)


def check_state(network: nn.Module, state: Mapping[str, Any], *, source: str) -> None:
    """Check that `state` has the same names and shapes as the network's own state.

    Raises:
        UserError: they differ; the message names the first difference and `source`.
    """
    difference = first_difference(state, network.state_dict())
    if difference:
        raise UserError(f"{source} belongs to another architecture or space: {difference}.")
