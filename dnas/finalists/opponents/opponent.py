"""The interface of an opponent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings
from dnas.system.errors import UserError


@dataclass(frozen=True)
class Opponent(ABC):
    """A way to find an architecture that spends a given amount of compute. Implementations are frozen dataclasses."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"{entry.name} of {type(self).__name__} must be at least 1; got {value}.")

    @abstractmethod
    def training(self, like: FinalistSettings) -> FinalistSettings:
        """How its networks are trained: `like` finalists, for epochs of its own."""

    @abstractmethod
    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        """The best architecture that is found before the compute is spent.

        Raises:
            UserError: nothing was found.
        """


def random_training(like: FinalistSettings, *, epochs: int, rungs: int = 1, factor: int = 2) -> FinalistSettings:
    """Settings of finalists that are all random, with the optimizer and the sizes of others."""
    return replace(
        like, num=2, epochs=epochs, rungs=rungs, factor=factor, changes=0, random_share=1.0, begin_with="new"
    )


def best_of(finalists: list[Finalist]) -> Finalist:
    """The best of those that have a judgement, by the last of each.

    Raises:
        UserError: all trainings have diverged.
    """
    judged = [one for one in finalists if one.judgements]
    if not judged:
        raise UserError("All trainings diverged, so nothing was found: lower their learning rate (finalists.weights).")
    return min(judged, key=lambda one: one.last.order)
