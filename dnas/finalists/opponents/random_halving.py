"""Random search with successive halving."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dnas.core.architecture import Architecture
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent, best_of, random_training
from dnas.finalists.proposals import Proposals
from dnas.finalists.settings import FinalistSettings


@dataclass(frozen=True)
class RandomHalving(Opponent):
    """Successive halving of random architectures, each rung with the same share of the compute.

    Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943, algorithm 1, where the number of networks follows
    from the compute: random ones enter the first rung until its share is spent. In each later rung the best 1 / factor
    of the one before are trained factor times as long, in order, until the shares up to there are spent.

    Where the last rung runs out of networks before, it goes on as asynchronous successive halving (Li et al. 2020,
    https://arxiv.org/abs/1810.05934, algorithm 2): one among the best 1 / factor of a rung that has not gone on does so
    now, in the highest rung that has one, and where there is none another random one enters; until all is spent.

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
        rungs = _Rungs(contest, proposals, self.rungs, self.factor)
        for number in range(self.rungs):
            while not rungs.ranked(number) or compute.is_left((number + 1) / self.rungs):
                if not rungs.train_another(number):
                    break
        while compute.is_left() and any(rungs.train_another(number) for number in reversed(range(self.rungs))):
            pass
        return best_of(rungs.highest).architecture


class _Rungs:
    """Who was trained in each rung, and who may enter it."""

    def __init__(self, contest: Contest, proposals: Proposals, num: int, factor: int) -> None:
        self._contest = contest
        self._proposals = proposals
        self._factor = factor
        self._trained: list[list[Finalist]] = [[] for _ in range(num)]

    def ranked(self, number: int) -> list[Finalist]:
        """Those that got through a rung, best first."""
        through = [one for one in self._trained[number] if len(one.judgements) > number]
        return sorted(through, key=lambda one: one.judgements[number].order)

    @property
    def highest(self) -> list[Finalist]:
        """Those that got through the highest rung that anybody got through."""
        return next((ranked for number in reversed(range(len(self._trained))) if (ranked := self.ranked(number))), [])

    def train_another(self, number: int) -> bool:
        """Train the next one in a rung; False where nobody may enter it."""
        new = self._contest.enter(self._proposals.random(1)) if number == 0 else self._promoted(number - 1)
        for one in new:
            self._trained[number].append(one)
            self._contest.train(one, self._contest.conditions.settings.rung(number))
        return bool(new)

    def _promoted(self, number: int) -> list[Finalist]:
        """The first one, if any, of the best 1 / factor of a rung that was not trained in the next."""
        ranked, gone = self.ranked(number), {one.number for one in self._trained[number + 1]}
        best = ranked[: math.ceil(len(ranked) / self._factor)]
        return [one for one in best if one.number not in gone][:1]
