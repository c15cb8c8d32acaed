"""Regularised evolution on short trainings."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

from dnas.core.architecture import Architecture
from dnas.data.keyed_random import stream_key
from dnas.finalists.contest import Contest, Finalist
from dnas.finalists.opponents.compute import Compute
from dnas.finalists.opponents.opponent import Opponent, best_of, random_training
from dnas.finalists.proposals import Proposal, Proposals
from dnas.finalists.settings import FinalistSettings

_PARENTS = 3  # keeps its random stream apart from those of proposals


@dataclass(frozen=True)
class RegularizedEvolution(Opponent):
    """Aging evolution (Real et al. 2019, https://arxiv.org/abs/1802.01548, algorithm 1) until the compute is spent.

    A population of random architectures; then in each cycle the best of a sample, drawn with replacement, gets a child
    with one decision changed, and the oldest of the population dies. The best ever is kept. Unlike there, a child is
    always a network of a new function (drawn again otherwise, and a random one where the parent has no new child), so
    that nothing is trained twice. A training that diverges leaves no individual.

    Args:
        epochs: of each training.
        population: P.
        sample: S, at most P.
    """

    epochs: int = 4
    population: int = 10
    sample: int = 3

    def training(self, like: FinalistSettings) -> FinalistSettings:
        return random_training(like, epochs=self.epochs)

    def find(self, contest: Contest, proposals: Proposals, compute: Compute) -> Architecture:
        settings = contest.conditions.settings
        rung, random = settings.rung(0), Random(stream_key(settings.seed, _PARENTS))
        alive, history = deque[Finalist](), list[Finalist]()
        while not any(one.judgements for one in history) or compute.is_left():
            is_grown = len(history) >= self.population
            new = _child(alive, self.sample, proposals, random, cycle=len(history)) if is_grown and alive else []
            entered = contest.enter(new or proposals.random(1))
            if not entered:
                break
            contest.train(entered[0], rung)
            history += entered
            if not entered[0].failure:
                alive.append(entered[0])
            if is_grown and len(alive) > self.population:
                alive.popleft()
        return best_of(history).architecture


def _child(alive: deque[Finalist], sample: int, proposals: Proposals, random: Random, *, cycle: int) -> list[Proposal]:
    drawn = [alive[random.randrange(len(alive))] for _ in range(sample)]
    parent = min(drawn, key=lambda one: one.last.order)
    return proposals.changes(parent.architecture, 1, rung=cycle)
