"""How a found network compares with random ones of the same space that were trained in the same way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnas.core.architecture import Architecture
from dnas.system.errors import UserError
from dnas.training.evaluate import wilson_interval


@dataclass(frozen=True)
class Row:
    """One network that was trained.

    Args:
        name: what the table calls it.
        architecture: of the network.
        parameters: number of them, without what only training uses.
        validation_top1: accuracy on images held out from its training, 0 to 1; choices among networks look at this.
        test_top1: accuracy on the test part, 0 to 1; only reported.
        seconds: of its training.

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
            "architecture": json.loads(self.architecture.to_json()),
        }

    @staticmethod
    def from_data(data: Any, *, source: str) -> Row:
        """Validate what `to_data` gives; `source` is what messages call it.

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
    """A found network beside random ones; all were trained with the same settings on the same stream of images.

    Test accuracies are only reported: which network random search would keep is decided by validation accuracy.

    Args:
        found: by the search.
        random: drawn from the space, without looking.
        search_seconds: time of the search, without the training of what it found.
        num_test: images in the test part.
        beside: others to show, such as published architectures; no statistics are made of them.

    Raises:
        UserError: no random network, or a number out of its range.
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

    # The random networks: test accuracies, 0 to 1

    @property
    def mean(self) -> float:
        return math.fsum(row.test_top1 for row in self.random) / len(self.random)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (n - 1 in the denominator); None of a single network."""
        if len(self.random) == 1:
            return None
        return math.sqrt(math.fsum((row.test_top1 - self.mean) ** 2 for row in self.random) / (len(self.random) - 1))

    @property
    def best(self) -> float:
        """The highest, which nobody could have chosen without looking at the test part."""
        return max(row.test_top1 for row in self.random)

    # The found network among them

    @property
    def num_beaten(self) -> int:
        return sum(row.test_top1 < self.found.test_top1 for row in self.random)

    @property
    def num_tied(self) -> int:
        return sum(row.test_top1 == self.found.test_top1 for row in self.random)

    @property
    def percentile(self) -> float:
        """Share of random networks that the found one beats, ties counting half, 0 to 100."""
        return 100 * (self.num_beaten + self.num_tied / 2) / len(self.random)

    @property
    def percentile_interval(self) -> tuple[float, float]:
        """95% interval, 0 to 100, of that share among all architectures that could have been drawn.

        Clopper-Pearson, with ties counted as lost for the lower end and as won for the upper.
        """
        low, _ = clopper_pearson(self.num_beaten, len(self.random))
        _, high = clopper_pearson(self.num_beaten + self.num_tied, len(self.random))
        return 100 * low, 100 * high

    # Random search with the compute of the search

    @property
    def seconds_per_training(self) -> float:
        """Mean over the random networks."""
        return math.fsum(row.seconds for row in self.random) / len(self.random)

    @property
    def num_affordable(self) -> int:
        """How many networks random search trains with the compute of the search and of one training.

        Rounded up: a training that was begun is finished, in favour of random search.
        """
        return 1 + math.ceil(self.search_seconds / self.seconds_per_training)

    @property
    def num_drawn(self) -> int:
        """As many of these as were really trained."""
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

    # Words

    def findings(self) -> list[str]:
        """What the numbers say, in sentences."""
        count, found = len(self.random), _percent(self.found.test_top1)
        low, high = self.percentile_interval
        tied = f" and equals {self.num_tied}" if self.num_tied else ""
        lines = [
            f"The found network beats {self.num_beaten}{tied} of {count} random ones: percentile "
            f"{self.percentile:.0f}, 95% interval {low:.0f} to {high:.0f}, which is what {count} networks allow."
        ]
        if self.search_wins:
            lines.append(
                f"The search did better than random search with the same compute: {found} against an expected "
                f"{_percent(self.random_search)} (best by validation of {self.num_drawn})."
            )
        else:
            lines.append(
                f"Random search was as good or better: with the same compute it is expected to reach "
                f"{_percent(self.random_search)} (best by validation of {self.num_drawn}); the search reached {found}."
            )
        if self.num_affordable > count:
            lines.append(
                f"The compute of the search pays for {self.num_affordable} trainings and only {count} were made, so "
                "random search would probably do better than its row says."
            )
        if self.found.test_top1 <= self.mean:
            lines.append(f"The found network is no better than the average random one ({_percent(self.mean)}).")
        if high < 50:
            lines.append("It is worse than the median random architecture: the whole interval lies below 50.")
        elif low <= 50:
            lines.append(
                f"{count} random networks do not show that the search beats the median architecture: the interval "
                "includes 50."
            )
        low, high = wilson_interval(self.found.test_top1, self.num_test)
        lines.append(
            f"With {self.num_test} test images the found network's accuracy is known to within {_percent(low)} to "
            f"{_percent(high)} (95%); each network was trained once."
        )
        return lines

    def to_data(self) -> dict[str, Any]:
        """Plain data for a JSON file: the rows and all that is derived from them."""
        return {
            "found": self.found.to_data(),
            "random": [row.to_data() for row in self.random],
            "beside": [row.to_data() for row in self.beside],
            "search_seconds": self.search_seconds,
            "num_test": self.num_test,
            "random_mean": self.mean,
            "random_deviation": self.deviation,
            "random_best": self.best,
            "percentile": self.percentile,
            "percentile_interval_95": list(self.percentile_interval),
            "same_compute": {
                "num_affordable": self.num_affordable,
                "num_drawn": self.num_drawn,
                "expected_test_top1": self.random_search,
            },
            "search_wins": self.search_wins,
            "findings": self.findings(),
        }


def comparison_table(comparison: Comparison) -> str:
    """The comparison as aligned text: a table, then what it says in sentences."""
    c = comparison
    count, training = len(c.random), c.seconds_per_training
    deviation = "" if c.deviation is None else f" +/- {100 * c.deviation:.2f}"
    parameters = math.fsum(row.parameters for row in c.random) / count
    cells = [
        ("network", "test top-1", "parameters", "trained", "compute"),
        (
            "found by the search",
            _percent(c.found.test_top1),
            f"{c.found.parameters:,}",
            "1",
            f"{_duration(c.search_seconds + c.found.seconds)} (search {_duration(c.search_seconds)})",
        ),
        *((row.name, _percent(row.test_top1), f"{row.parameters:,}", "1", _duration(row.seconds)) for row in c.beside),
        ("one random (mean)", _percent(c.mean) + deviation, f"{parameters:,.0f}", "1", _duration(training)),
        (
            f"random search, best of {c.num_drawn} by validation (expected)",
            _percent(c.random_search),
            "",
            str(c.num_drawn),
            _duration(c.num_drawn * training),
        ),
        (
            f"best of {count} random by test (hindsight)",
            _percent(c.best),
            "",
            str(count),
            _duration(count * training),
        ),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *c.findings()])


# Statistics


def expected_best(validation: Sequence[float], test: Sequence[float], count: int) -> float:
    """Expected test accuracy of the best by validation among `count` networks drawn without replacement.

    Of n networks in order of validation accuracy, the best of k is one of the ranks a + 1 to b with probability
    (C(b, k) - C(a, k)) / C(n, k). Networks of equal validation accuracy are equally likely to be kept.

    Args:
        validation: accuracies that decide.
        test: accuracies of the same networks.
        count: k, from 1 to the number of networks.

    Raises:
        UserError: the lengths differ, or `count` is out of range.
    """
    if len(validation) != len(test) or not 1 <= count <= len(test):
        raise UserError(
            f"Expected as many validation as test accuracies and a count from 1 to their number; got "
            f"{len(validation)}, {len(test)} and {count}."
        )
    groups: dict[float, list[float]] = {}
    for value, accuracy in sorted(zip(validation, test, strict=True)):
        groups.setdefault(value, []).append(accuracy)
    below, terms = 0, []
    for accuracies in groups.values():
        upto = below + len(accuracies)
        ways = math.comb(upto, count) - math.comb(below, count)
        terms.append(ways / math.comb(len(test), count) * math.fsum(accuracies) / len(accuracies))
        below = upto
    return math.fsum(terms)


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability (Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404).

    Its ends are the p for which P(X >= successes) and P(X <= successes), X binomial, are (1 - confidence) / 2.

    Raises:
        UserError: not 0 <= successes <= trials, no trials, or a confidence that is not between 0 and 1.
    """
    if not (0 <= successes <= trials and trials >= 1 and 0 < confidence < 1):
        raise UserError(
            f"Expected 0 <= successes <= trials, trials >= 1 and a confidence between 0 and 1; got {successes}, "
            f"{trials} and {confidence}."
        )
    outside = (1 - confidence) / 2
    low = _root(lambda p: _tail(successes, trials, p) - outside) if successes > 0 else 0.0
    high = _root(lambda p: _tail(successes + 1, trials, p) - (1 - outside)) if successes < trials else 1.0
    return low, high


def _tail(successes: int, trials: int, p: float) -> float:
    """P(X >= successes) for X binomial; in logarithms, since the factors overflow from a thousand trials on."""
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(p) + (trials - k) * math.log1p(-p)
        )
        for k in range(successes, trials + 1)
    )


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function on (0, 1) is 0, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
