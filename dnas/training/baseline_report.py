"""A comparison with random networks as a table, as sentences and as data for a file."""

from __future__ import annotations

import math
from typing import Any

from dnas.core.run import Run
from dnas.system.atomic import write_text
from dnas.system.words import aligned, readable_time
from dnas.task.words import called, shown, spread
from dnas.training.baseline import FOLDER
from dnas.training.comparison import Comparison
from dnas.training.row import Row


def comparison_table(comparison: Comparison) -> str:
    """The comparison as a table with aligned columns, followed by sentences that say what it shows."""
    c = comparison
    count, training = len(c.random), c.seconds_per_training
    deviation = "" if c.deviation is None else f" +/- {spread(c.metric, c.deviation, around=c.mean)}"
    lower = " (lower is better)" if c.found.better == "lower" else ""
    parameters = math.fsum(row.parameters for row in c.random) / count
    cells = [
        ("network", f"test {called(c.metric)}{lower}", "parameters", "trained", "compute"),
        (
            "found by the search",
            shown(c.metric, c.found.test),
            f"{c.found.parameters:,}",
            "1",
            _compute(c.search_seconds, c.found),
        ),
        *(
            (
                row.name,
                shown(c.metric, row.test),
                f"{row.parameters:,}",
                "1",
                _compute(c.opponent_seconds.get(row.name, 0.0), row),
            )
            for row in c.beside
        ),
        ("one random (mean)", shown(c.metric, c.mean) + deviation, f"{parameters:,.0f}", "1", readable_time(training)),
        (
            f"random search, best of {c.num_drawn} by validation (expected)",
            shown(c.metric, c.random_search),
            "",
            str(c.num_drawn),
            readable_time(c.num_drawn * training),
        ),
        (
            f"best of {count} random by test (hindsight)",
            shown(c.metric, c.best),
            "",
            str(count),
            readable_time(count * training),
        ),
    ]
    head, *lines = aligned(cells, "<<<<<")
    rule = "-" * max(map(len, (head, *lines)))
    return "\n".join([head, rule, *lines, "", *findings(c)])


def _compute(search: float, row: Row) -> str:
    """How long it took to find and to train a network."""
    return readable_time(search + row.seconds) + (f" (search {readable_time(search)})" if search else "")


def findings(comparison: Comparison) -> list[str]:
    """Sentences that say what the numbers show."""
    against = [*_against_opponents(comparison), *_against_random_search(comparison)]
    return [*against, *_against_random_networks(comparison), _certainty(comparison)]


def _against_opponents(c: Comparison) -> list[str]:
    """A sentence for each opponent on who found the better network with the same compute."""
    lines, found = [], shown(c.metric, c.found.test)
    for row in c.opponents:
        if row.test == c.found.test:
            lines.append(f"With the same compute {row.name} found a network that is as good: {found}.")
            continue
        better = "The search" if c.found.is_better(c.found.test, row.test) else row.name
        lines.append(
            f"{better} found the better network with the same compute: the search {found}, {row.name} "
            f"{shown(c.metric, row.test)}."
        )
    if c.compute:
        spent = ", ".join(f"{name} {seconds:.1f}{_flops(c.flops.get(name))}" for name, seconds in c.compute.items())
        lines.append(
            f"Seconds of compute that were spent on finding them (the table's times are by the clock): {spent}."
        )
    return lines


def _flops(flops: float | None) -> str:
    return f" ({flops:.2g} FLOPs of training)" if flops else ""


def _against_random_search(c: Comparison) -> list[str]:
    """Sentences on the found network's rank, and on random search with the same compute."""
    count, found = len(c.random), shown(c.metric, c.found.test)
    low, high = c.percentile_interval
    tied = f" and equals {c.num_tied}" if c.num_tied else ""
    lines = [
        f"The found network beats {c.num_beaten}{tied} of {count} random ones: percentile "
        f"{c.percentile:.0f}, 95% interval {low:.0f} to {high:.0f}, which is what {count} networks allow."
    ]
    if c.search_wins:
        lines.append(
            f"The search did better than random search with the same compute: {found} against an expected "
            f"{shown(c.metric, c.random_search)} (best by validation of {c.num_drawn})."
        )
    else:
        lines.append(
            f"Random search was as good or better: with the same compute it is expected to reach "
            f"{shown(c.metric, c.random_search)} (best by validation of {c.num_drawn}); the search reached {found}."
        )
    if c.num_affordable > count:
        lines.append(
            f"The compute of the search pays for {c.num_affordable} trainings and only {count} were made, so "
            "random search would probably do better than its row says."
        )
    return lines


def _against_random_networks(c: Comparison) -> list[str]:
    """A warning where the found network is not clearly better than the mean or the median random network."""
    lines, count, (low, high) = [], len(c.random), c.percentile_interval
    if not c.found.is_better(c.found.test, c.mean):
        lines.append(f"The found network is no better than the average random one ({shown(c.metric, c.mean)}).")
    if high < 50:
        lines.append("It is worse than the median random architecture: the whole interval lies below 50.")
    elif low <= 50:
        lines.append(
            f"{count} random networks do not show that the search beats the median architecture: the interval "
            "includes 50."
        )
    return lines


def _certainty(c: Comparison) -> str:
    """How precisely the test part measures the found network."""
    once = "each network was trained once."
    if c.found.test_interval is None:
        return f"There are {c.num_test} test samples; {once}"
    low, high = (shown(c.metric, end) for end in c.found.test_interval)
    return (
        f"With {c.num_test} test samples the found network's {called(c.metric)} is known to within {low} to {high} "
        f"(95%); {once}"
    )


def write_comparison(run: Run, comparison: Comparison) -> str:
    """Write RUN/baseline/comparison.json and comparison.txt; the text comes back."""
    table = comparison_table(comparison)
    run.child(FOLDER).save_json("comparison", comparison_data(comparison))
    write_text(run.child(FOLDER).path / "comparison.txt", table + "\n")
    return table


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Plain data for a JSON file: the rows and everything that is derived from them."""
    c = comparison
    return {
        "found": c.found.to_data(),
        "random": [row.to_data() for row in c.random],
        "beside": [row.to_data() for row in c.beside],
        "search_seconds": c.search_seconds,
        "opponent_seconds": dict(c.opponent_seconds),
        "compute": dict(c.compute),
        "flops": dict(c.flops),
        "num_test": c.num_test,
        "metric": c.metric,
        "better": c.found.better,
        "random_mean": c.mean,
        "random_deviation": c.deviation,
        "random_best": c.best,
        "percentile": c.percentile,
        "percentile_interval_95": list(c.percentile_interval),
        "same_compute": {
            "num_affordable": c.num_affordable,
            "num_drawn": c.num_drawn,
            "expected_test": c.random_search,
        },
        "search_wins": c.search_wins,
        "findings": findings(c),
    }
