"""A found network and random ones of the same space that were trained in the same way, in numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnas.core.architecture import Architecture
from dnas.system.errors import UserError
from dnas.training.intervals import clopper_pearson, expected_best
from dnas.training.significance import deviation, mean


@dataclass(frozen=True)
class Row:
    """One network that was trained.

    Args:
        name: the network's name in the table.
        architecture: the network's architecture.
        parameters: number of parameters, without those that only training uses.
        validation_top1: accuracy on images held out from its training, 0 to 1; networks are chosen by it.
        test_top1: accuracy on the test part, 0 to 1; it is only reported.
        seconds: duration of its training.

    Raises:
        UserError: an accuracy is not from 0 to 1, or the time is not over 0.
    """

    name: str
    architecture: Architecture
    parameters: int
    validation_top1: float
    test_top1: float
    seconds: float

    def __post_init__(self) -> None:
        for name in ("validation_top1", "test_top1"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} of {self.name!r} must be from 0 to 1; got {getattr(self, name)}.")
        if not 0 < self.seconds < math.inf:
            raise UserError(f"seconds of {self.name!r} must be over 0; got {self.seconds}.")

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "validation_top1": self.validation_top1,
            "test_top1": self.test_top1,
            "seconds": self.seconds,
            "architecture": self.architecture.to_data(),
        }

    @staticmethod
    def from_data(data: Any, *, source: str) -> Row:
        """Read and check what `to_data` gives; messages call it by `source`.

        Raises:
            UserError: an entry is missing or of a wrong type.
        """
        kinds = {"name": str, "parameters": int, "validation_top1": float, "test_top1": float, "seconds": float}
        if not isinstance(data, Mapping) or set(data) != {*kinds, "architecture"}:
            raise UserError(f"{source} must hold the entries {[*kinds, 'architecture']}; got {data!r}.")
        for name, kind in kinds.items():
            if type(data[name]) is not kind:
                raise UserError(f"{source}: {name} must be of type {kind.__name__}; got {data[name]!r}.")
        architecture = Architecture.from_json(json.dumps(data["architecture"]), source=f"{source}, architecture")
        return Row(architecture=architecture, **{name: data[name] for name in kinds})


@dataclass(frozen=True)
class Comparison:
    """The network that a search found beside random ones, all trained with the same settings on the same images.

    Test accuracies are only reported; validation accuracy decides which network random search would keep.

    Args:
        found: the network that the search found.
        random: networks whose architectures were drawn at random from the space.
        search_seconds: duration of the search, without the training of the network that it found.
        num_test: number of images in the test part.
        beside: other networks that the table shows, such as published ones; they take no part in the statistics.

    Raises:
        UserError: there is no random network, or a number is out of its range.
    """

    found: Row
    random: tuple[Row, ...]
    search_seconds: float
    num_test: int
    beside: tuple[Row, ...] = ()

    def __post_init__(self) -> None:
        if not self.random:
            raise UserError("A comparison needs at least one random network; got none.")
        if not 0 <= self.search_seconds < math.inf:
            raise UserError(f"search_seconds must be 0 or more; got {self.search_seconds}.")
        if self.num_test < 1:
            raise UserError(f"num_test must be at least 1; got {self.num_test}.")

    # Test accuracies of the random networks, 0 to 1

    @property
    def mean(self) -> float:
        """Mean test accuracy."""
        return mean([row.test_top1 for row in self.random])

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator); None for a single network."""
        return deviation([row.test_top1 for row in self.random])

    @property
    def best(self) -> float:
        """The highest test accuracy, which nobody could have chosen without looking at the test part."""
        return max(row.test_top1 for row in self.random)

    # Where the found network stands among them

    @property
    def num_beaten(self) -> int:
        """Number of random networks with a lower test accuracy than the found one."""
        return sum(row.test_top1 < self.found.test_top1 for row in self.random)

    @property
    def num_tied(self) -> int:
        """Number of random networks with the same test accuracy as the found one."""
        return sum(row.test_top1 == self.found.test_top1 for row in self.random)

    @property
    def percentile(self) -> float:
        """Percentage of random networks that the found one beats, 0 to 100; a tie counts half."""
        return 100 * (self.num_beaten + self.num_tied / 2) / len(self.random)

    @property
    def percentile_interval(self) -> tuple[float, float]:
        """95% interval of the percentile among all architectures that could have been drawn, 0 to 100.

        This is the Clopper-Pearson interval; ties count as lost for its lower end and as won for its upper end.
        """
        low, _ = clopper_pearson(self.num_beaten, len(self.random))
        _, high = clopper_pearson(self.num_beaten + self.num_tied, len(self.random))
        return 100 * low, 100 * high

    # Random search with the compute of the search

    @property
    def seconds_per_training(self) -> float:
        """Mean duration of training a random network."""
        return mean([row.seconds for row in self.random])

    @property
    def num_affordable(self) -> int:
        """How many networks random search could train with the compute of the search and of one training.

        It is rounded up in favour of random search, which finishes every training that it begins.
        """
        return 1 + math.ceil(self.search_seconds / self.seconds_per_training)

    @property
    def num_drawn(self) -> int:
        """How many networks random search draws: `num_affordable`, or all random networks if there are fewer."""
        return min(self.num_affordable, len(self.random))

    @property
    def random_search(self) -> float:
        """Expected test accuracy of the best by validation among `num_drawn` of the random networks."""
        validation = [row.validation_top1 for row in self.random]
        return expected_best(validation, [row.test_top1 for row in self.random], self.num_drawn)

    @property
    def search_wins(self) -> bool:
        """Whether the found network is better than what random search is expected to reach with the same compute."""
        return self.found.test_top1 > self.random_search
