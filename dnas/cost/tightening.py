"""A limit in milliseconds that is kept as measured, where predictions decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dnas.cost.bounds import amount
from dnas.system.errors import UserError

# How often the limit on predictions is tightened.
TRIES = 3

T = TypeVar("T")


def until_measured(
    most: float,
    decide: Callable[[float], T],
    *,
    measure: Callable[[T], float],
    predict: Callable[[T], float],
    advice: str,
    say: Callable[[str], None],
) -> T:
    """What is decided on, once its network takes `most` milliseconds or less as measured.

    Args:
        most: the limit.
        decide: finds the best within a factor times the limit, as predicted.
        measure: milliseconds of what was decided.
        predict: the same as predicted.
        advice: what to do, said where nothing is found.
        say: shows a line to a person.

    Raises:
        UserError: the network still takes too long; with the figure.
    """
    factor, found = 1.0, 0.0
    for _ in range(TRIES + 1):
        decided = decide(factor)
        found = measure(decided)
        say(
            f"The network takes {amount(found)} milliseconds of at most {amount(most)}, measured; "
            f"{amount(predict(decided))} were predicted."
        )
        if found <= most:
            return decided
        factor *= most / found
    raise UserError(
        f"No network was found that takes {amount(most)} milliseconds or less as measured: the last of "
        f"{TRIES + 1} took {amount(found)}. {advice}"
    )
