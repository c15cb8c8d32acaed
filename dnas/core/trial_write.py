"""Checks before long work that what it will write can be written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.system.errors import UserError
from dnas.system.tensor_file import tensors_in

# Of what is trained, on the disk at one time: two checkpoints, the old one and the one that is being written, each with
# the optimizer's momentum, and two more copies for Adam's second moment or network.pt.
_COPIES = 6


def check_room(run: Run, state: Mapping[str, Any], work: str) -> None:
    """Check that the disk has room for the checkpoints of what is trained.

    Args:
        run: the run; its folder need not exist yet.
        state: the tensors that are trained.
        work: what is to be done, as messages call it, such as 'training'.

    Raises:
        UserError: there is too little room.
    """
    needed = _COPIES * sum(tensor.numel() * tensor.element_size() for _, tensor in tensors_in(state))
    free = shutil.disk_usage(_nearest(run.path)).free
    if free < needed:
        raise UserError(
            f"The disk of {run.path} has {free / 1e6:.0f} MB free, and the checkpoints and weights of this {work} "
            f"take about {needed / 1e6:.0f} MB. Make room, or use a smaller network."
        )


@contextmanager
def trial_folder(run: Run) -> Iterator[Run]:
    """A folder in the run's, into which files can be written for a trial; it is removed after the block."""
    is_new = not run.path.exists()
    trial = run.child("trial")
    trial.path.mkdir(parents=True, exist_ok=True)
    try:
        yield trial
    finally:
        shutil.rmtree(run.path if is_new else trial.path, ignore_errors=True)


def check_training_can_be_saved(run: Run, network: nn.Module) -> None:
    """Check before a training that there is room, and that the network's weights can be written.

    Raises:
        UserError: there is too little room, or the network's state holds more than tensors.
        OSError: the folder cannot be written to.
    """
    check_room(run, network.state_dict(), "training")
    with trial_folder(run) as trial:
        trial.save_weights(network)


def check_search_can_be_saved(run: Run, weights: Mapping[str, Any], architecture: Architecture) -> None:
    """Check before a search that there is room, and that what it finds can be written and read back.

    Args:
        run: of the search.
        weights: the supernet's tensors.
        architecture: any that the search could find.

    Raises:
        UserError: there is too little room, or names or arguments of the architecture cannot be written.
        OSError: the folder cannot be written to.
    """
    check_room(run, weights, "search")
    with trial_folder(run) as trial:
        try:
            trial.save_architecture(architecture)
            trial.load_architecture()
        except (TypeError, ValueError) as error:
            raise UserError(
                f"What this search finds could not be written as architecture.json: {error}. Names of decisions and "
                "candidates must be UTF-8 text, and arguments of the architecture numbers, text and lists."
            ) from error


def _nearest(path: Path) -> Path:
    """The path, or the first folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
