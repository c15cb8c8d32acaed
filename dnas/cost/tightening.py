"""A limit in milliseconds that is kept as measured, where predictions decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from dnas.cost.bounds import amount
from dnas.system.errors import UserError

# How often the limit on predictions is tightened, and how often it is loosened where too little of it is used.
TRIES = 3

T = TypeVar("T")


class Met(NamedTuple, Generic[T]):
    """What meets a limit as measured.

    Args:
        decided: what was decided on.
        factor: times the limit, which predictions had to keep.
        milliseconds: of its network, measured.
    """

    decided: T
    factor: float
    milliseconds: float


def until_measured(
    most: float,
    decide: Callable[[float], T],
    *,
    measure: Callable[[T], float],
    predict: Callable[[T], float],
    advice: str,
    say: Callable[[str], None],
    least_use: float = 0.0,
) -> Met[T]:
    """What is decided on, once its network takes `most` milliseconds or less as measured.

    Where predictions are too high, what keeps the limit as predicted uses little of it: then looser limits are tried on
    predictions, up to the tightest that failed, and the loosest that is met counts.

    Args:
        most: the limit.
        decide: finds the best within a factor times the limit, as predicted.
        measure: milliseconds of what was decided.
        predict: the same as predicted.
        advice: what to do, said where nothing is found.
        say: shows a line to a person.
        least_use: the share of the limit below which looser ones are tried; 0 to take the first that meets it.

    Raises:
        UserError: the network still takes too long; with the figure.
    """

    def tried(factor: float, decided: T) -> Met[T]:
        met = Met(decided, factor, measure(decided))
        say(
            f"The network takes {amount(met.milliseconds)} milliseconds of at most {amount(most)}, measured; "
            f"{amount(predict(decided))} were predicted."
        )
        return met

    met, failed = tried(1.0, decide(1.0)), math.inf
    for _ in range(TRIES):
        if met.milliseconds <= most:
            break
        failed, factor = met.factor, met.factor * most / met.milliseconds
        met = tried(factor, decide(factor))
    if met.milliseconds > most:
        raise UserError(
            f"No network was found that takes {amount(most)} milliseconds or less as measured: the last of "
            f"{TRIES + 1} took {amount(met.milliseconds)}. {advice}"
        )
    for _ in range(TRIES):
        if met.milliseconds >= least_use * most:
            break
        factor = met.factor * most / met.milliseconds
        factor = factor if factor < failed else (met.factor + failed) / 2
        decided = decide(factor)
        if decided == met.decided:
            break  # the best up to this limit
        looser = tried(factor, decided)
        if looser.milliseconds <= most:
            met = looser
        else:
            failed = factor
    return met
