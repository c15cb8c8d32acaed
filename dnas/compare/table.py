"""The rows of a comparison as tables: one line per recipe beside what it has to beat, and the trajectories."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from dnas.compare.row import CompareRow
from dnas.training.significance import deviation, mean, verdict


@dataclass(frozen=True)
class Line:
    """One line of the table; accuracies in percent.

    Args:
        recipe: name of the recipe, or what a reference is.
        n: number of runs, or of architectures.
        failed: runs without a result.
        mean, std, best: of the reported column; `std` is the sample standard deviation.
        selected: reported value of the run whose selecting value is the highest.
        percentile: mean share of random architectures that are worse, in percent.
        agreement: mean of Kendall's tau between a supernet's ranking and the table's.
        seconds: mean of the searches.
        device: where they ran.
        against_baseline: Welch's t-test against the runs of the baseline recipe, in words.
        against_random: a t-test against random architectures, in words.
    """

    recipe: str
    n: int
    failed: int
    mean: float | None
    std: float | None
    best: float | None
    selected: float | None
    percentile: float | None
    agreement: float | None
    seconds: float | None
    device: str
    against_baseline: str
    against_random: str


HEADINGS = {
    "recipe": "recipe",
    "n": "n",
    "failed": "failed",
    "mean": "mean",
    "std": "std",
    "best": "best",
    "selected": "selected",
    "percentile": "percentile",
    "agreement": "tau",
    "seconds": "seconds",
    "device": "device",
    "against_baseline": "against",
    "against_random": "against random",
}
_TESTS = ("against_baseline", "against_random")
# Columns that a terminal has no room for: the caption says the device, and lines below the table the tests.
_WORDS = ("device", *_TESTS)
# What stands in the place of a test of a recipe against itself.
BASELINE = "baseline"
_DECIMALS = {"mean": 2, "std": 2, "best": 2, "selected": 2, "percentile": 1, "agreement": 2, "seconds": 0}


@dataclass(frozen=True)
class Columns:
    """Which values are looked at.

    Args:
        select: decides among runs.
        report: is only reported.
    """

    select: str
    report: str


def recipe_line(
    recipe: str,
    rows: Sequence[CompareRow],
    *,
    columns: Columns,
    percentiles: Sequence[float],
    baseline: Sequence[float],
    is_baseline: bool,
    against_random: str,
) -> Line:
    """The line of one recipe.

    Args:
        recipe: name.
        rows: of this recipe, at least one.
        columns: which values.
        percentiles: of the rows that have a result.
        baseline: reported values of the baseline recipe's runs.
        is_baseline: whether it is that recipe itself.
        against_random: the test against random architectures, in words.
    """
    good = [row for row in rows if row.found is not None]
    values = [row.values[columns.report] for row in good]
    agreements = [row.agreement for row in good if row.agreement is not None]
    devices = list(dict.fromkeys(row.device for row in rows))
    return Line(
        recipe=recipe,
        n=len(good),
        failed=len(rows) - len(good),
        mean=mean(values) if values else None,
        std=deviation(values),
        best=max(values, default=None),
        selected=selected_by(
            [row.values[columns.select] for row in good], [row.values[columns.report] for row in good]
        ),
        percentile=mean(percentiles) if percentiles else None,
        agreement=mean(agreements) if agreements else None,
        seconds=mean([row.seconds for row in good]) if good else None,
        device=", ".join(devices),
        against_baseline=BASELINE if is_baseline else verdict(values, baseline),
        against_random=against_random,
    )


def selected_by(select: Sequence[float], report: Sequence[float]) -> float | None:
    """The reported value that belongs to the highest selecting value, the first of equal ones; None of none."""
    if not select:
        return None
    return report[max(range(len(select)), key=lambda index: select[index])]


def reference_line(name: str, values: Sequence[float], selected: float | None, percentile: float | None) -> Line:
    """A line of architectures that no search found."""
    return Line(
        name, len(values), 0, mean(values), deviation(values), max(values), selected, percentile, None, None, "", "", ""
    )


# Text


def to_markdown(lines: Sequence[Line], *, caption: str, baseline: str) -> str:
    """A table in Markdown with a caption."""
    shown = _columns(lines)
    head = [_headings(baseline)[index] for index in shown]
    cells = [[_cells(line)[index] for index in shown] for line in lines]
    widths = [max(len(row[column]) for row in (head, *cells)) for column in range(len(head))]

    def written(row: Sequence[str]) -> str:
        return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([caption, "", written(head), rule, *map(written, cells)]) + "\n"


def to_csv(lines: Sequence[Line]) -> str:
    """The table with all digits."""
    return _csv([[field.name for field in fields(Line)], *(list(astuple(line)) for line in lines)])


def rich_table(lines: Sequence[Line]) -> Any:
    """The numbers as a `rich.table.Table`, for a terminal of 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    left_out = (*_WORDS, *(() if any(line.failed for line in lines) else ("failed",)))
    shown = [index for index in _columns(lines) if list(HEADINGS)[index] not in left_out]
    for index in shown:
        name = list(HEADINGS)[index]
        table.add_column(
            HEADINGS[name].replace("percentile", "per-\ncentile").replace("selected", "se-\nlected"),
            justify="left" if name == "recipe" else "right",
            no_wrap=name != "recipe",
            overflow="fold",
            min_width=17 if name == "recipe" else None,
        )
    for line in lines:
        cells = _cells(line)
        table.add_row(*(cells[index] for index in shown))
    return table


def verdicts_text(lines: Sequence[Line], *, baseline: str) -> str:
    """The significance tests of all recipes, one line for each thing that they are tested against."""
    texts = []
    for name in _TESTS:
        verdicts = {line.recipe: getattr(line, name) for line in lines if getattr(line, name) not in ("", BASELINE)}
        alike = len(set(verdicts.values())) == 1
        said = next(iter(verdicts.values())) if alike else ", ".join(f"{one} {text}" for one, text in verdicts.items())
        if verdicts:
            texts.append(f"{_headings(baseline)[list(HEADINGS).index(name)].capitalize()}: {said}.")
    return "\n".join(texts)


def trajectory_csv(rows: Sequence[CompareRow], first: Columns) -> str:
    """What each run would have found after each epoch: recipe, seed, epoch, string, one column per known value.

    Args:
        rows: in order.
        first: the columns that come before the others.
    """
    known = {column for row in rows for found in row.trajectory for column in found.values}
    columns = sorted(known, key=lambda column: (column not in (first.select, first.report), column))
    lines: list[list[Any]] = [["recipe", "seed", "epoch", "string", *columns]]
    for row in rows:
        for found in row.trajectory:
            values = [found.values.get(column, "") for column in columns]
            lines.append([row.recipe, row.seed, found.epoch, found.string, *values])
    return _csv(lines)


def _columns(lines: Sequence[Line]) -> list[int]:
    """Which columns are shown, of those in `HEADINGS`: all but Kendall's tau where none was measured."""
    measured = any(line.agreement is not None for line in lines)
    return [index for index, name in enumerate(HEADINGS) if measured or name != "agreement"]


def _headings(baseline: str) -> list[str]:
    return [f"{text} {baseline}" if name == "against_baseline" else text for name, text in HEADINGS.items()]


def _cells(line: Line) -> list[str]:
    texts = []
    for name in HEADINGS:
        value = getattr(line, name)
        if value is None or (name == "failed" and value == 0):
            texts.append("")
        else:
            texts.append(f"{value:.{_DECIMALS[name]}f}" if name in _DECIMALS else str(value))
    return texts


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [["" if value is None else value for value in line] for line in lines]
    )
    return text.getvalue()
