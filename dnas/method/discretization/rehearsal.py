"""How often a discretization evaluates and trains the supernet, found by running it with made-up accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import torch

from dnas.core.decision import Decision
from dnas.core.mixture import Active, Mixture
from dnas.method.discretization.base import Discretization

# A discretization that asks more often may be waiting for an answer that never comes.
MOST = 100_000

T = TypeVar("T")


@dataclass(frozen=True)
class Rehearsal:
    """The evaluations and trainings that a discretization requested, in order.

    Args:
        evaluated: active candidates of each evaluation, by decision name; a name that is missing has all active.
        trained: number of epochs and active candidates of each training.
    """

    evaluated: Sequence[Mapping[str, Active]] = ()
    trained: Sequence[tuple[int, Mapping[str, Active]]] = ()

    @property
    def num_evaluations(self) -> int:
        """Number of evaluations of the supernet, each on all validation images."""
        return len(self.evaluated)

    @property
    def num_epochs(self) -> int:
        """Number of epochs for which the weights are trained further."""
        return sum(epochs for epochs, _ in self.trained)


def rehearse(discretization: Discretization, decisions: Mapping[str, Decision]) -> Rehearsal:
    """The requests of a discretization with all candidates active, from a cheap run with random accuracies.

    The discretizations of this package make the same number of requests whatever the accuracies are. If one makes more
    than 100000, only the first are counted.

    Example:
        >>> from dnas import RandomSampling
        >>> choices = {name: Decision(name, "choice", ("a", "b", "c")) for name in ("first", "second")}
        >>> rehearse(RandomSampling(samples=7), choices).num_evaluations
        7
    """
    random = Random(0)
    evaluated: list[Mapping[str, Active]] = []
    trained: list[tuple[int, Mapping[str, Active]]] = []

    def asked() -> None:
        if len(evaluated) + len(trained) >= MOST:
            raise _Enough

    def evaluate(active: Mapping[str, Active]) -> float:
        asked()
        evaluated.append(active)
        return random.random()

    def train(epochs: int, active: Mapping[str, Active] | None = None) -> None:
        asked()
        trained.append((epochs, active or {}))

    mixtures = {name: Mixture(torch.ones(decision.shape)) for name, decision in decisions.items()}
    if discretization.needs_training:
        with suppress(_Enough):
            discretization(decisions, mixtures, evaluate=evaluate, train=train)
    return Rehearsal(evaluated, trained)


class _Enough(Exception):
    """Ends a rehearsal that would not end by itself."""


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items, from the middles of as many parts of equal length; all items if there are no more.

    Example:
        >>> evenly(range(100), 4)
        [12, 37, 62, 87]
    """
    if len(items) <= count:
        return list(items)
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]
