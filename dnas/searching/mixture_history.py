"""The mixtures after each epoch of a search, from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from dnas.core.decision import Decision
from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.run import Run
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import relaxed_mixtures
from dnas.system.errors import UserError


@dataclass(frozen=True)
class EpochMixtures:
    """The expected mixtures after an epoch.

    Args:
        epoch: its number, from 1 on.
        decisions: what the mixtures are of.
        values: of each decision its rows, one weight for each candidate.
    """

    epoch: int
    decisions: Mapping[str, Decision]
    values: Mapping[str, list[list[float]]]


def mixtures_by_epoch(run: Run, settings: SearchSettings) -> list[EpochMixtures]:
    """The mixtures after each epoch of the last stage; none if the run has no checkpoint that holds its decisions.

    Args:
        run: folder of a search that has begun.
        settings: of it.

    Raises:
        UserError: the checkpoint is damaged or of another search.
    """
    path = run.checkpoint_path(CHECKPOINT)
    if not path.exists():
        return []
    state = run.load_checkpoint(CHECKPOINT)
    if "decisions" not in state:  # written before checkpoints held them
        return []
    try:
        return _mixtures(state, settings)
    except (LookupError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def _mixtures(state: Mapping[str, Any], settings: SearchSettings) -> list[EpochMixtures]:
    names = {field.name for field in fields(Decision)}
    decisions = {
        name: Decision(**{key: value for key, value in own.items() if key in names})
        for name, own in state["decisions"].items()
    }
    part, per_epoch = settings.parts[state["stage"]], state["steps_per_epoch"]
    allowed = {name: tuple(tuple(row) for row in own) for name, own in state["supernet"]["allowed"].items()}
    history = state["alphas_by_epoch"]
    last = state["step"] // per_epoch
    found = []
    for index, alphas in enumerate(history):
        epoch = last - len(history) + 1 + index
        progress = torch.tensor(part.progress(epoch * per_epoch, per_epoch))
        with torch.no_grad():
            mixtures = relaxed_mixtures(
                decisions, alphas, allowed, lambda alpha, at=progress: settings.relaxation.expected(alpha, at)
            )
        values = {name: mixture.values.reshape(decisions[name].num_rows, -1) for name, mixture in mixtures.items()}
        found.append(EpochMixtures(epoch, decisions, {name: rows.tolist() for name, rows in values.items()}))
    return found
