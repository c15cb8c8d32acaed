"""The mixtures with which a search has ended, from its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from dnas.core.decision import Decision
from dnas.core.last_checkpoint import CHECKPOINT
from dnas.core.mixture import Mixture
from dnas.core.run import Run
from dnas.searching.settings import SearchSettings
from dnas.searching.supernet import relaxed_mixtures
from dnas.system.errors import UserError


class Final(NamedTuple):
    """How a search has ended.

    Args:
        mixtures: the expected mixtures that its discretization has seen.
        is_pushed: whether a budget has changed the alphas.
    """

    mixtures: dict[str, Mixture]
    is_pushed: bool


def final_mixtures(run: Run, settings: SearchSettings, decisions: Mapping[str, Decision]) -> Final:
    """How a finished search has ended.

    Args:
        run: folder of the search.
        settings: of it.
        decisions: of its supernet.

    Raises:
        FileNotFoundError: the run has no checkpoint.
        UserError: the search is not finished, or the checkpoint is damaged or of another search.
    """
    state = run.load_checkpoint(CHECKPOINT)
    if not run.architecture_path.exists():
        raise UserError(f"The search in {run.path} is not finished: `dnas search --resume {run.path}` goes on with it.")
    path = run.checkpoint_path(CHECKPOINT)
    try:
        epoch, history = state["result_epoch"], state["alphas_by_epoch"]
        alphas = state["supernet"]["alphas"] if epoch is None else history[epoch - 1]
        rows = state["supernet"]["allowed"]
        allowed = {name: tuple(tuple(row) for row in own) for name, own in rows.items()}
        part = settings.parts[state["stage"]]
        progress = torch.tensor(part.progress(state["step"], state["steps_per_epoch"]))
        with torch.no_grad():
            mixtures = relaxed_mixtures(
                decisions, alphas, allowed, lambda alpha: settings.relaxation.expected(alpha, progress)
            )
        return Final(mixtures, any(m > 0 for m in state.get("budget", {}).get("highest", ())))
    except (LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}). Use a new run folder.") from error
