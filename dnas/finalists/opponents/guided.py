"""Short trainings guided by a model of their results."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent, best_of, random_training
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings


@dataclass(frozen=True)
class Guided(Opponent):
    """Guided finalists without a supernet, in one rung: until the compute is spent.

    Random architectures until `percent` of the compute are spent, and two results at least are there; then one after
    another those that a Gaussian process over decisions expects most of (`dnas.finalists.guide`). A random one where it
    knows of no new function. The best of all is kept.

    Args:
        epochs: of each training.
        percent: of the compute, for random architectures.
    """

    epochs: int = 4
    percent: int = 50

    def training(self, like: FinalistSettings) -> FinalistSettings:
        return random_training(like, epochs=self.epochs)

    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        rung, tried = contest.conditions.settings.rung(0), list[Finalist]()
        while not any(one.judgements for one in tried) or compute.is_left():
            ranked = sorted((one for one in tried if one.judgements), key=lambda one: one.last.order)
            is_guided = len(ranked) > 1 and not compute.is_left(self.percent / 100)
            guided = proposals.guided([one.architecture for one in ranked]) if is_guided else []
            entered = contest.enter(guided or proposals.random(1))
            if not entered:
                break
            contest.train(entered[0], rung)
            tried += entered
        return best_of(tried).architecture
