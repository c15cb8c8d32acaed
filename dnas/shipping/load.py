"""From a run folder to the trained network, as a plain module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture
from dnas.core.derive import derive
from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.own_module import OwnModule, made_model
from dnas.core.run import RETRAIN, WEIGHTS_FILE, Run, check_not_shrunk
from dnas.searching.supernet import Supernet
from dnas.shipping.package import MODULE_FILE, SPEC_FILE, check_state, digests_in, read_spec, read_weights, skeleton
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.system.errors import UserError
from dnas.system.tensor_file import check_finite
from dnas.training.network_checks import digest_of_modules


def load(path: Path | str, *, model: OwnModule | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run that was searched or retrained; `dnas.load`, which calls it, says more."""
    folder = find_network(Path(path))
    made = None if model is None else made_model(model)
    if folder is not None:
        network = _from_files(folder, read_spec(folder), made)
    elif made is not None:
        network = _of_module(Run(path), made)
    else:
        raise _not_retrained(Path(path))
    return network.to(device).eval()


def load_spec(path: Path | str) -> NetworkSpec:
    """Everything about the network of a run except its weights: architecture, class names, input, and so on.

    Raises:
        FileNotFoundError: the folder does not exist, or the run was not retrained.
        UserError: a file is damaged.
    """
    folder = find_network(Path(path))
    if folder is None:
        raise _not_retrained(Path(path))
    return read_spec(folder)


def find_network(path: Path) -> Path | None:
    """The folder that holds network.json: the given one or its `retrain`; None if the network was not retrained.

    Raises:
        FileNotFoundError: the folder does not exist.
        UserError: it is not a folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no run folder {path}.")
    if not path.is_dir():
        raise UserError(f"{path} is a file; expected a run folder, or a folder with {SPEC_FILE} and {WEIGHTS_FILE}.")
    return next((folder for folder in (path, path / RETRAIN) if (folder / SPEC_FILE).exists()), None)


def _not_retrained(path: Path) -> FileNotFoundError:
    check_not_shrunk(path)
    if (path / MODULE_FILE).exists():
        return FileNotFoundError(
            f"{path} holds a network of a module of the user's own, which no file holds: give that or its class, "
            f"dnas.load({str(path)!r}, model=Net)."
        )
    return FileNotFoundError(
        f"{path} holds no retrained network (no {SPEC_FILE}, nor {RETRAIN}/{SPEC_FILE}): "
        f"`dnas retrain {path}` makes one."
    )


def _from_files(folder: Path, spec: NetworkSpec, model: nn.Module | None) -> nn.Module:
    if isinstance(spec.builder, SpaceBuilder):
        if model is not None:
            raise UserError(
                f"The network in {folder} is built from the space {spec.architecture.space!r}; leave out `model`, "
                "which is for a search of your own module."
            )
        return _from_space(spec, read_weights(folder), str(folder / WEIGHTS_FILE))
    if model is None:
        raise UserError(
            f"The network in {folder} was found in your own module, which no file holds. Give a new one, made as for "
            f"the search: dnas.load({str(folder)!r}, model=make_model())."
        )
    return _with_weights(derive(model, spec.architecture), folder)


def _from_space(spec: NetworkSpec, state: Mapping[str, Tensor], source: str) -> nn.Module:
    # Compared before anything of that size is allocated: the numbers in network.json may be damaged.
    check_state(skeleton(spec), state, source=source)
    assert isinstance(spec.builder, SpaceBuilder)
    network = replace(spec.builder, auxiliary=False).network(spec.architecture)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network


def _of_module(run: Run, model: nn.Module) -> nn.Module:
    """The network derived from a user's own module, with the weights that were trained last."""
    for training in (run, run.child(RETRAIN)):
        if training.weights_path.exists():
            return _retrained_module(training, _architecture_of(run, training), model)
    child = run.child(RETRAIN)
    if child.checkpoint_path(CHECKPOINT).exists():
        raise UserError(
            f"The retraining in {child.path} has not finished (it holds no {WEIGHTS_FILE}), and the weights of the "
            "search are not given in its place: call dnas.retrain again with the same arguments, which finishes it; or "
            f"move {child.path} away for the weights of the search."
        )
    return _searched(run, model)


def _architecture_of(run: Run, training: Run) -> Architecture:
    """The architecture of the trained network, from its own folder or from the search that it lies in."""
    for folder in (training, run, Run(training.path.absolute().parent)):
        if folder.architecture_path.exists():
            return folder.load_architecture()
    raise FileNotFoundError(
        f"{training.path} holds trained weights, but no architecture.json says of what: save it there, "
        "architecture.save(run.architecture_path)."
    )


def _retrained_module(training: Run, architecture: Architecture, model: nn.Module) -> nn.Module:
    network = derive(model, architecture)
    if digest_of_modules(network) not in digests_in(training.path):
        raise UserError(
            f"{training.weights_path} belongs to another network than the one that the architecture gives of "
            f"{type(model).__name__}: its modules have other names or classes. Give the module that was retrained, or "
            "retrain anew what was found since."
        )
    return _with_weights(network, training.path)


def _with_weights(network: nn.Module, folder: Path) -> nn.Module:
    state = read_weights(folder)
    check_state(network, state, source=str(folder / WEIGHTS_FILE))
    network.load_state_dict(state)
    return network


def _searched(run: Run, model: nn.Module) -> nn.Module:
    """The network derived from the supernet of a search, with the weights that it had at the end."""
    architecture = run.load_architecture()
    source = run.checkpoint_path(CHECKPOINT)
    state = run.load_checkpoint(CHECKPOINT).get("supernet")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in ("model", "alphas")):
        raise UserError(f"{source} is not the checkpoint of a search.")
    supernet = Supernet(copy.deepcopy(model))
    check_finite({name: state["model"].get(name) for name in supernet.weights()}, source=str(source))
    try:
        supernet.load_state_dict(state)
    except ValueError as error:
        raise UserError(f"{source} does not fit the given model: {error}") from error
    return derive(supernet.model, architecture)
