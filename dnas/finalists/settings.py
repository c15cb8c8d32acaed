"""Settings of the finalists of a search: how many there are, and how long each rung trains them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dnas.core.schedule import Cosine
from dnas.searching.weight_optimizer import WeightOptimizer, WeightSGD
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.training.settings import RetrainSettings

# Beyond this a rung would be longer than any training.
_MOST = 100_000


class Rung(NamedTuple):
    """One rung.

    Args:
        number: 0 for the first.
        num: number of finalists that are trained in it, newcomers not counted.
        first_epoch: epochs that they have been trained before.
        epochs: epochs of this rung.
    """

    number: int
    num: int
    first_epoch: int
    epochs: int

    @property
    def end(self) -> int:
        """Epochs of training that lie behind a finalist after this rung."""
        return self.first_epoch + self.epochs


@dataclass(frozen=True)
class FinalistSettings:
    """How candidates for the result of a search are trained and chosen, by successive halving.

    Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943, algorithm 1: in rung r there are num / factor^r
    networks, each trained for epochs * factor^r more epochs, so that all rungs cost about the same. In each rung the
    learning rate goes once from its start to its end, so that a network is judged when it has settled, and starts anew
    in the next one from the weights of the one before (warm restarts, Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983); momentum starts at 0.

    Args:
        num: number of finalists in the first rung; 0 for none.
        alone: whether no supernet is trained, so that all are random, guided, or changes of others.
        rungs: largest number of rungs; there are fewer where one would have a single network.
        epochs: epochs of the first rung.
        factor: 1 / factor of the networks stay after a rung.
        changes: number of newcomers after each rung but the last: the best network so far with one decision changed.
            They are trained as long as the others before they are compared.
        guided_share: share of the finalists of the first rung, from 0 to 1, that a model of the results so far
            proposes, one after another, when the others of them are trained. It learns what short trainings prefer, so
            it needs trainings that are long enough to tell networks apart (docs/results.md).
        random_share: share of uniform random architectures among the others, from 0 to 1.
        begin_with: 'new' weights, or the 'searched' ones of the supernet.
        weights: optimizer of the weights; its learning rate goes through its schedule in each rung.
        channels: channels of the networks; by default those of the search.
        cells: cells of the networks; by default those of the search.
        seed: seed of initial weights and of proposals.

    Raises:
        UserError: a value is out of its range.

    Example:
        >>> [(rung.num, rung.epochs) for rung in FinalistSettings(num=8, rungs=3, epochs=2).schedule]
        [(8, 2), (4, 4), (2, 8)]
    """

    num: int = 0
    alone: bool = False
    rungs: int = 3
    epochs: int = 2
    factor: int = 2
    changes: int = 2
    guided_share: float = 0.0
    random_share: float = 0.25
    begin_with: Literal["new", "searched"] = "new"
    weights: WeightOptimizer = WeightSGD(lr=Cosine(0.1, 0.0), weight_decay=5e-4, nesterov=True)
    channels: int | None = None
    cells: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        accept(self)
        if self.num < 0 or self.num == 1:
            raise UserError(f"num of the finalists must be 0, for none, or at least 2; got {self.num}.")
        for name, least in (("rungs", 1), ("epochs", 1), ("factor", 2)):
            if getattr(self, name) < least:
                raise UserError(f"{name} of the finalists must be at least {least}; got {getattr(self, name)}.")
        if self.changes < 0:
            raise UserError(f"changes of the finalists must be 0 or more; got {self.changes}.")
        for name in ("guided_share", "random_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} of the finalists must be from 0 to 1; got {getattr(self, name)}.")
        for name in ("channels", "cells"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} of the finalists must be at least 1; got {value}.")
        if self.begin_with == "searched" and (self.channels, self.cells) != (None, None):
            raise UserError(
                "Finalists that begin with the searched weights have the channels and cells of the search: leave out "
                "channels and cells of the finalists, or begin with new weights."
            )
        if self.alone and not self.num:
            raise UserError("Without a supernet and without finalists nothing is searched: give num, or not alone.")
        if self.alone and self.begin_with == "searched":
            raise UserError("Finalists alone have no searched weights to begin with: leave out begin_with, or alone.")
        if self.num and max(rung.end for rung in self.schedule) > _MOST:
            raise UserError(f"The last rung of the finalists would end after more than {_MOST:,} epochs: lower rungs.")

    @property
    def schedule(self) -> tuple[Rung, ...]:
        """All rungs, if there are as many finalists as asked for."""
        return self.schedule_of(self.num)

    def schedule_of(self, num: int) -> tuple[Rung, ...]:
        """All rungs for `num` finalists; none for a single one."""
        left = (math.ceil(num / self.factor**number) for number in range(self.rungs))
        return tuple(self.rung(number, count) for number, count in enumerate(left) if count >= 2)

    def rung(self, number: int, num: int = 0) -> Rung:
        """Rung `number`, with any number of networks."""
        first = sum(self.epochs * self.factor**before for before in range(number))
        return Rung(number, num, first, self.epochs * self.factor**number)

    @property
    def num_guided(self) -> int:
        """Number of finalists that a model of the results so far proposes; it needs two results at least."""
        return max(min(round(self.guided_share * self.num), self.num - 2), 0)

    @property
    def epochs_in_all(self) -> int:
        """Epochs of training of all finalists together, at most."""
        rungs = self.schedule
        return sum(rung.num * rung.epochs for rung in rungs) + sum(self.changes * rung.end for rung in rungs[:-1])

    @property
    def num_trainings(self) -> int:
        """Number of trainings of all finalists together, at most; each is judged once."""
        rungs = self.schedule
        return sum(rung.num for rung in rungs) + sum(self.changes * (rung.number + 1) for rung in rungs[:-1])

    def training(self, rung: Rung) -> RetrainSettings:
        """The settings of a rung's trainings: no auxiliary head, drop-path or cutout, which long trainings need."""
        return RetrainSettings(
            epochs=rung.epochs,
            weights=self.weights,
            lr_changes="step",
            auxiliary=False,
            drop_path=0.0,
            cutout=0,
            seed=self.seed,
        )


# What `dnas search` takes within a budget where nobody says anything of finalists: the search's result and 15 random
# networks. Measured by `benchmarks/digits.py`, as the way `finalists, no price`.
WITHIN_BUDGET = FinalistSettings(num=16, epochs=3, random_share=1.0)

# What `dnas search` takes where nobody says anything of finalists and a supernet would take few steps: no supernet
# (dnas/jobs/planning/few_steps.py). Settings of the demo.
FEW_STEPS = FinalistSettings(num=32, alone=True, guided_share=0.5, epochs=3, rungs=3)
