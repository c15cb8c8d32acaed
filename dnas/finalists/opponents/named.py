"""Opponents by the names that the command line gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from dnas.finalists.opponents.by_score import SCORES, ByScore
from dnas.finalists.opponents.evolution import RegularizedEvolution
from dnas.finalists.opponents.guided import Guided
from dnas.finalists.opponents.opponent import Opponent
from dnas.finalists.opponents.random_halving import RandomHalving
from dnas.finalists.opponents.random_search import RandomSearch
from dnas.system.errors import UserError
from dnas.system.words import did_you_mean

# A new opponent is one more entry here.
OPPONENTS: Mapping[str, Opponent] = MappingProxyType(
    {
        "random_search": RandomSearch(),
        "random_halving": RandomHalving(),
        "evolution": RegularizedEvolution(),
        "guided": Guided(),
        **{score: ByScore(score) for score in SCORES},
    }
)


def named_opponents(given: Sequence[str]) -> dict[str, Opponent]:
    """Opponents by name.

    Args:
        given: names such as 'evolution', or with settings, 'random_halving:epochs=2,rungs=3'.

    Returns:
        The opponents by what names their rows and folders, such as 'random_halving-epochs2-rungs3'.

    Raises:
        UserError: there is no such opponent or setting, or two are the same.

    Example:
        >>> named_opponents(["random_halving:epochs=2"])
        {'random_halving-epochs2': RandomHalving(epochs=2, rungs=4, factor=2)}
    """
    found: dict[str, Opponent] = {}
    for text in given:
        name, _, settings = text.partition(":")
        if name not in OPPONENTS:
            raise UserError(
                f"There is no opponent {name!r}{did_you_mean(name, OPPONENTS)}; there are {', '.join(OPPONENTS)}."
            )
        values = _values(settings, OPPONENTS[name]) if settings else {}
        row = "-".join([name, *(f"{key}{value}" for key, value in values.items())])
        if row in found:
            raise UserError(f"The opponent {text} is given twice.")
        found[row] = replace(OPPONENTS[name], **values)
    return found


def _values(text: str, opponent: Opponent) -> dict[str, Any]:
    known = [entry.name for entry in fields(opponent) if isinstance(getattr(opponent, entry.name), int)]
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name not in known or not equals or not value.isdigit():
            raise UserError(
                f"An opponent's settings are written as {known[0]}=2, separated by commas; "
                f"{type(opponent).__name__} has {', '.join(known)}; got {part!r}."
            )
        found[name] = int(value)
    return found
