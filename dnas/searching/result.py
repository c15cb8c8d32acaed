"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.core.architecture import Architecture
from dnas.searching.supernet import Supernet


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Args:
        architecture: the architecture that the discretization keeps.
        supernet: the supernet with its final weights and alphas.
        metrics: one row of scalars per epoch. If an observer has sent the search back, the rows of the epochs that were
            given up are still there, and later rows have an entry `attempt`.
        seconds: time spent in steps, evaluation and discretization, over all parts of a resumed run.
    """

    architecture: Architecture
    supernet: Supernet
    metrics: list[dict[str, float]]
    seconds: float
