"""A found network and random ones of the same space that were trained in the same way, in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dnas.system.errors import UserError
from dnas.training.intervals import clopper_pearson, expected_best
from dnas.training.row import Row
from dnas.training.significance import deviation, mean


@dataclass(frozen=True)
class Comparison:
    """The network that a search found beside random ones, all trained with the same settings on the same data.

    Values are those of one metric, which may be better where it is higher or where it is lower. Test values are only
    reported; validation values decide which network random search would keep.

    Args:
        found: the network that the search found.
        random: networks whose architectures were drawn at random from the space.
        search_seconds: duration of the search, without the training of the network that it found.
        num_test: number of samples in the test part.
        beside: other networks that the table shows, such as published ones; they take no part in the statistics.
        opponent_seconds: of those that an opponent found with the compute of the search, by name: how long that took,
            without their training.
        compute: what the search and its opponents spent on that, by name, in seconds of compute
            (`dnas.system.compute`), where opponents were asked for.
        flops: FLOPs of the opponents' trainings, by name.

    Raises:
        UserError: there is no random network, rows have different metrics, or a number is out of its range.
    """

    found: Row
    random: tuple[Row, ...]
    search_seconds: float
    num_test: int
    beside: tuple[Row, ...] = ()
    opponent_seconds: Mapping[str, float] = field(default_factory=dict)
    compute: Mapping[str, float] = field(default_factory=dict)
    flops: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.random:
            raise UserError("A comparison needs at least one random network; got none.")
        if not 0 <= self.search_seconds < math.inf:
            raise UserError(f"search_seconds must be 0 or more; got {self.search_seconds}.")
        if self.num_test < 1:
            raise UserError(f"num_test must be at least 1; got {self.num_test}.")
        kinds = {(row.metric, row.better) for row in (self.found, *self.random, *self.beside)}
        if len(kinds) > 1:
            named = ", ".join(sorted(f"{metric} ({better} is better)" for metric, better in kinds))
            raise UserError(f"Networks that are compared must have the same metric; they have {named}.")

    @property
    def metric(self) -> str:
        """Name of the metric that decides which network is best."""
        return self.found.metric

    # Test values of the random networks

    @property
    def mean(self) -> float:
        """Mean test value."""
        return mean([row.test for row in self.random])

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator); None for a single network."""
        return deviation([row.test for row in self.random])

    @property
    def best(self) -> float:
        """The best test value, which nobody could have chosen without looking at the test part."""
        return (max if self.found.better == "higher" else min)(row.test for row in self.random)

    # Where the found network stands among them

    @property
    def opponents(self) -> tuple[Row, ...]:
        """The networks that opponents found with the compute of the search."""
        return tuple(row for row in self.beside if row.name in self.opponent_seconds)

    @property
    def num_beaten(self) -> int:
        """Number of random networks with a worse test value than the found one."""
        return sum(self.found.is_better(self.found.test, row.test) for row in self.random)

    @property
    def num_tied(self) -> int:
        """Number of random networks with the same test value as the found one."""
        return sum(row.test == self.found.test for row in self.random)

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
        """Expected test value of the best by validation among `num_drawn` of the random networks."""
        sign = 1 if self.found.better == "higher" else -1
        validation = [sign * row.validation for row in self.random]
        return expected_best(validation, [row.test for row in self.random], self.num_drawn)

    @property
    def search_wins(self) -> bool:
        """Whether the found network is better than what random search is expected to reach with the same compute."""
        return self.found.is_better(self.found.test, self.random_search)
