"""What a discretization will ask of the supernet, found out by letting it decide about answers that are made up."""

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

# What asks more often may be waiting for an answer that does not come.
MOST = 100_000

T = TypeVar("T")


@dataclass(frozen=True)
class Rehearsal:
    """What was asked for, in order.

    Args:
        evaluated: for each evaluation which candidates took part, by decision name; all where a name is missing.
        trained: for each time that the weights were trained on the epochs, and which candidates took part.
    """

    evaluated: Sequence[Mapping[str, Active]] = ()
    trained: Sequence[tuple[int, Mapping[str, Active]]] = ()

    @property
    def num_evaluations(self) -> int:
        """How often the supernet is evaluated, each time on all validation images."""
        return len(self.evaluated)

    @property
    def num_epochs(self) -> int:
        """For how many epochs the weights are trained on."""
        return sum(epochs for epochs, _ in self.trained)


def rehearse(discretization: Discretization, decisions: Mapping[str, Decision]) -> Rehearsal:
    """What a discretization asks for where all candidates take part: a cheap run of it, with random accuracies.

    Those of this package ask equally often whatever the answers are. Of one that asks more than 100000 times the first
    are counted.

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
    """Ends a rehearsal that does not end by itself."""


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items, from the middles of as many parts of equal length; all where there are no more.

    Example:
        >>> evenly(range(100), 4)
        [12, 37, 62, 87]
    """
    if len(items) <= count:
        return list(items)
    return [items[(2 * part + 1) * len(items) // (2 * count)] for part in range(count)]
