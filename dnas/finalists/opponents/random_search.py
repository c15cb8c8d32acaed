"""Random search with short trainings."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent, best_of, random_training
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings


@dataclass(frozen=True)
class RandomSearch(Opponent):
    """Random architectures are trained one after another until the compute is spent; the best is kept.

    Args:
        epochs: of each training.
    """

    epochs: int = 4

    def training(self, like: FinalistSettings) -> FinalistSettings:
        return random_training(like, epochs=self.epochs)

    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        rung, entered = contest.conditions.settings.rung(0), []
        while not any(one.judgements for one in entered) or compute.is_left():
            new = contest.enter(proposals.random(1))
            if not new:
                break
            contest.train(new[0], rung)
            entered += new
        return best_of(entered).architecture
