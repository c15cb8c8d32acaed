"""The interface of an opponent, and the compute that it may spend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings
from dnas.system.errors import UserError


class Compute:
    """The compute that an opponent may spend; a training that has begun is finished, in the opponent's favour.

    Everything since this was made counts: proposals, scores, trainings and judgements, and trainings of an earlier call
    that are read from their folders.

    Args:
        limit: in seconds of `clock`.
        contest: counts trainings.
        clock: `dnas.system.compute.compute_clock`.
    """

    def __init__(self, limit: float, contest: Contest, clock: Callable[[], float]) -> None:
        self.limit = limit
        self._contest = contest
        self._clock = clock
        self._started = clock()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        besides = self._clock() - self._started - self._contest.compute_now
        return self._contest.compute + max(besides, 0.0)

    def is_left(self, share: float = 1.0) -> bool:
        """Whether less than this share of the limit is spent."""
        return self.spent < share * self.limit


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
