"""Random search with successive halving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.opponents.opponent import Compute, Opponent, best_of, random_training
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings


@dataclass(frozen=True)
class RandomHalving(Opponent):
    """Successive halving of random architectures, each rung with the same share of the compute.

    Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943, algorithm 1, where the number of networks follows
    from the compute: random ones enter the first rung until its share is spent. In each later rung the best 1 / factor
    of the one before are trained factor times as long, in order, until the shares up to there are spent.

    Args:
        epochs: of the first rung.
        rungs: number of rungs.
        factor: 1 / factor of the networks stay after a rung.
    """

    epochs: int = 1
    rungs: int = 4
    factor: int = 2

    def training(self, like: FinalistSettings) -> FinalistSettings:
        return random_training(like, epochs=self.epochs, rungs=self.rungs, factor=self.factor)

    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        candidates, ranked = _entering(contest, proposals), list[Finalist]()
        for number in range(self.rungs):
            rung, trained = contest.conditions.settings.rung(number), list[Finalist]()
            while not trained or compute.is_left((number + 1) / self.rungs):
                one = next(candidates, None)
                if one is None:
                    break
                contest.train(one, rung)
                trained += [] if one.failure else [one]
            if not trained:
                break
            ranked = sorted(trained, key=lambda one: one.last.order)
            candidates = iter(ranked[: math.ceil(len(ranked) / self.factor)])
        return best_of(ranked).architecture


def _entering(contest: Contest, proposals: Proposals) -> Iterator[Finalist]:
    while new := contest.enter(proposals.random(1)):
        yield from new
