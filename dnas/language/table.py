"""Recurrent cells that were trained in the same way on one text: a row for each, and sentences on what they show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from dnas.core.architecture import Architecture
from dnas.data.text import Level
from dnas.system.errors import UserError
from dnas.system.words import aligned, readable_time

FOUND = "found"  # name of the row of the found cell


@dataclass(frozen=True)
class CellRow:
    """The trained language model of one cell.

    Args:
        name: name of the row.
        architecture: the cell.
        parameters: number of parameters.
        validation: perplexity on the validation part, the lowest of all epochs.
        test: perplexity on the test part, with the weights of that epoch.
        seconds: duration of its training.

    Raises:
        UserError: a perplexity is below 1 or NaN, or the time is below 0.
    """

    name: str
    architecture: Architecture
    parameters: int
    validation: float
    test: float
    seconds: float

    def __post_init__(self) -> None:
        if not (self.validation >= 1 and self.test >= 1):
            raise UserError(f"Perplexities of {self.name!r} must be 1 or more; got {self.validation} and {self.test}.")
        if not 0 <= self.seconds < math.inf:
            raise UserError(f"seconds of {self.name!r} must be 0 or more; got {self.seconds}.")

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {**vars(self), "architecture": self.architecture.to_data()}

    @staticmethod
    def from_data(data: Any, *, source: str) -> CellRow:
        """Validate the result of `to_data`; messages call it by `source`.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        kinds = {"name": str, "parameters": int, "validation": float, "test": float, "seconds": float}
        if not isinstance(data, Mapping) or any(type(data.get(name)) is not kind for name, kind in kinds.items()):
            raise UserError(f"{source} is damaged: it must hold {', '.join(kinds)} of a trained cell; got {data!r}.")
        architecture = Architecture.from_json(json.dumps(data.get("architecture")), source=f"{source}, architecture")
        return CellRow(architecture=architecture, **{name: data[name] for name in kinds})


@dataclass(frozen=True)
class CellComparison:
    """A found cell beside others, all trained with the same settings on the same text.

    Args:
        found: the cell that the search found.
        beside: cells that the user named.
        random: cells drawn at random from the space.
        search_seconds: duration of the search, without the training of the found cell.
        level: whether a token is a character or a word.
    """

    found: CellRow
    beside: tuple[CellRow, ...]
    random: tuple[CellRow, ...]
    search_seconds: float
    level: Level

    @property
    def rows(self) -> tuple[CellRow, ...]:
        return (self.found, *self.beside, *self.random)

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "found": self.found.to_data(),
            "beside": [row.to_data() for row in self.beside],
            "random": [row.to_data() for row in self.random],
            "search_seconds": self.search_seconds,
            "findings": self.findings(),
        }

    def findings(self) -> list[str]:
        """Sentences on what the numbers show."""
        token = {"char": "character", "word": "word"}[self.level]
        lines = [f"Perplexity per {token}: the lower, the better. Each cell was trained once, by the same settings."]
        if not self.random:
            return [*lines, "Only random cells can show whether the search was worth its time: add --num 3 or more."]
        tests = [row.test for row in self.random]
        beaten, count = sum(self.found.test < test for test in tests), len(tests)
        spread = "" if count == 1 else f" +/- {stdev(tests):.3f}"
        lines.append(
            f"The found cell is better than {beaten} of {count} random ones on the test part; their mean is "
            f"{mean(tests):.3f}{spread}."
        )
        best = min(self.random, key=lambda row: row.validation)
        training = sum(row.seconds for row in self.random)
        searching = self.search_seconds + self.found.seconds
        lines.append(
            f"Random search keeps the best of them by validation, {best.name}: {best.test:.3f} on the test part after "
            f"{readable_time(training)}; the search and its training took {readable_time(searching)} for "
            f"{self.found.test:.3f}."
        )
        return lines

    def to_text(self) -> str:
        """A table with aligned columns, then sentences on what it shows."""
        cells = [("cell", "validation", "test", "parameters", "training")]
        for row in self.rows:
            seconds = readable_time(row.seconds)
            if row is self.found:
                seconds += f" (search {readable_time(self.search_seconds)})"
            numbers = (f"{row.validation:.3f}", f"{row.test:.3f}", f"{row.parameters:,}")
            cells.append((row.name, *numbers, seconds))
        return "\n".join([*aligned(cells, "<>>><"), "", *self.findings()])
