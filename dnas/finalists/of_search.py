"""What a search gives its finalists, and what it has when one of them is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.finalists.outcome import Outcome
from dnas.finalists.proposals import Known
from dnas.method.relaxation import Relaxation
from dnas.searching.loop import SEARCHED
from dnas.searching.result import SearchResult


def known_of(run: Run, result: SearchResult, relaxation: Relaxation) -> Known:
    """What a search knows at its end.

    Args:
        run: its folder.
        result: its result.
        relaxation: that of its settings.
    """
    mixtures = result.supernet.expected(relaxation, torch.tensor(1.0))
    return Known(result.architecture, mixtures, _of_epochs(run, len(result.metrics)))


def searched_architecture(run: Run) -> Architecture:
    """What the search of a run itself preferred; the run's result where that was not chosen among finalists of it.

    Args:
        run: its folder, of a search that is finished.
    """
    result, path = run.load_architecture(), run.path / SEARCHED
    return Architecture.load(path) if path.exists() else result


def with_finalist(run: Run, result: SearchResult, outcome: Outcome) -> SearchResult:
    """The result of a search whose architecture is the winner among its finalists; it is written into the run last."""
    seconds = result.seconds + outcome.seconds
    run.save_json("search", {**run.load_json("search"), "seconds": seconds, "finalists_seconds": outcome.seconds})
    run.save_architecture(outcome.winner.architecture)
    return replace(result, architecture=outcome.winner.architecture, seconds=seconds)


def _of_epochs(run: Run, num_epochs: int) -> Mapping[int, Architecture]:
    """The architectures of a search's epochs, by number."""
    paths = {int(path.stem.removeprefix("epoch_")): path for path in (run.path / "architectures").glob("epoch_*.json")}
    return {epoch: Architecture.load(paths[epoch]) for epoch in sorted(paths) if epoch <= num_epochs}
