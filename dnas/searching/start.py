"""The weights that a model came with, kept before a search trains it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import nn

from dnas.core.batch import map_tensors
from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.run import Run
from dnas.system.errors import UserError

# Name of the checkpoint that holds them.
START = "start"


@dataclass(frozen=True, eq=False)
class Start:
    """What a model came with.

    Args:
        state: its weights and buffers by name, on the CPU.
        trained: names of the parameters that require a gradient.
    """

    state: dict[str, Any]
    trained: tuple[str, ...]

    def of(self, model: nn.Module) -> nn.Module:
        """A copy of the model as it came, on the device where it is.

        Raises:
            UserError: the model has other weights.
        """
        fresh = copy.deepcopy(model)
        try:
            fresh.load_state_dict(self.state)
        except RuntimeError as error:
            raise UserError(
                f"The weights kept before the search do not fit the given {type(model).__name__}: {error}"
            ) from error
        for name, weight in fresh.named_parameters():
            weight.requires_grad_(name in self.trained)
        return fresh


def start_of(model: nn.Module) -> Start:
    """The weights of a model as they are now."""
    state = map_tensors(lambda tensor: tensor.detach().cpu().clone(), dict(model.state_dict()))
    return Start(state, tuple(name for name, weight in model.named_parameters() if weight.requires_grad))


def keep_start(model: nn.Module, run: Run | None) -> Start:
    """The weights with which a search begins; a search that goes on takes those that its folder holds."""
    if run is not None and run.checkpoint_path(CHECKPOINT).exists():
        kept = read_start(run)
        if kept is not None:
            return kept
    start = start_of(model)
    if run is not None:
        run.save_checkpoint(START, {"state": start.state, "trained": list(start.trained)})
    return start


def hand_on_start(before: Run, run: Run) -> None:
    """Give a run the weights that an earlier search kept, if it kept any."""
    if before.checkpoint_path(START).exists():
        run.save_checkpoint(START, before.load_checkpoint(START))


def read_start(run: Run) -> Start | None:
    """The weights that a search kept in its folder; None if it kept none.

    Raises:
        UserError: a damaged file.
    """
    path = run.checkpoint_path(START)
    if not path.exists():
        return None
    data = run.load_checkpoint(START)
    state, trained = data.get("state"), data.get("trained")
    if not isinstance(state, dict) or not isinstance(trained, list):
        raise UserError(f"{path} does not hold the weights of a model: expected the entries state and trained.")
    return Start(state, tuple(trained))
