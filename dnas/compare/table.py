"""The rows of a comparison as tables: one line per recipe beside what it has to beat, and the trajectories."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dnas.compare.row import CompareRow
from dnas.system.words import csv_cell
from dnas.task.words import is_share
from dnas.training.significance import deviation, mean, verdict


@dataclass(frozen=True)
class Columns:
    """Which values are looked at.

    Args:
        select: decides among runs.
        report: is only reported.
        metric: what their values are of; shares are in percent.
        better: which values are better.
    """

    select: str
    report: str
    metric: str = "top1"
    better: Literal["higher", "lower"] = "higher"

    @property
    def is_share(self) -> bool:
        """Whether values are in percent."""
        return is_share(self.metric)

    def in_units(self, value: float) -> float:
        """A value of the metric as the table has it."""
        return 100 * value if is_share(self.metric, value) else value

    def text(self, value: float) -> str:
        """A value as the table shows it: percent with two decimals, others with four digits."""
        return f"{value:.2f}" if self.is_share else f"{value:.4g}"

    def verdict(self, values: Sequence[float], others: Sequence[float]) -> str:
        """Welch's t-test against others, in words that know which values are better."""
        sign = 1 if self.better == "higher" else -1
        return verdict([sign * value for value in values], [sign * other for other in others])


@dataclass(frozen=True)
class Line:
    """One line of the table: what is known of the runs of a recipe, or of a reference.

    Args:
        recipe: name of the recipe or of the reference.
        values: reported values of all runs with a result, accuracies in percent by default.
        columns: which values they are.
        failed: number of runs without a result.
        selected: reported value of the run with the best selecting value.
        percentile: mean percentage of random architectures that are worse.
        agreement: mean of Kendall's tau between a supernet's ranking and the table's.
        seconds: mean duration of the searches.
        compute: mean seconds of compute of the searches, of which opponents have as many.
        flops: mean FLOPs of an opponent's trainings.
        device: devices of the searches.
        against_baseline: Welch's t-test against the runs of the baseline recipe, in words.
        against_random: a t-test against random architectures, in words.
    """

    recipe: str
    values: tuple[float, ...]
    columns: Columns
    failed: int = 0
    selected: float | None = None
    percentile: float | None = None
    agreement: float | None = None
    seconds: float | None = None
    compute: float | None = None
    flops: float | None = None
    device: str = ""
    against_baseline: str = ""
    against_random: str = ""

    @property
    def n(self) -> int:
        """Number of runs with a result."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean of the reported values; None without a result."""
        return mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Their sample standard deviation; None for fewer than two results."""
        return deviation(self.values)

    @property
    def best(self) -> float | None:
        """The best of them; None without a result."""
        return (max if self.columns.better == "higher" else min)(self.values, default=None)


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Args:
        name: its name in table.csv.
        heading: its heading for people; `{baseline}` stands for the baseline recipe.
        value: its cell in a line.
        decimals: number of digits after the point; None for text and whole numbers.
        in_units: whether it is a value of the metric, which has four digits where it is no share.
        narrow: its heading in a terminal of 80 columns, or None to leave it out there.
        optional: whether it is left out if no line has a value.
    """

    name: str
    heading: str
    value: Callable[[Line], float | str | None]
    decimals: int | None = None
    narrow: str | None = None
    optional: bool = False
    in_units: bool = False

    def cell(self, line: Line) -> str:
        """The text of a line in this column."""
        value = self.value(line)
        if value is None or (self.name == "failed" and value == 0):
            return ""
        if self.decimals is None:
            return str(value)
        assert isinstance(value, float | int)
        return line.columns.text(value) if self.in_units else f"{value:.{self.decimals}f}"


AGAINST_BASELINE = Column("against_baseline", "against {baseline}", lambda line: line.against_baseline)
AGAINST_RANDOM = Column("against_random", "against random", lambda line: line.against_random)
# A new column is one more entry here.
COLUMNS = (
    Column("recipe", "recipe", lambda line: line.recipe, narrow="recipe"),
    Column("n", "n", lambda line: line.n, narrow="n"),
    Column("failed", "failed", lambda line: line.failed, narrow="failed"),
    Column("mean", "mean", lambda line: line.mean, 2, narrow="mean", in_units=True),
    Column("std", "std", lambda line: line.std, 2, narrow="std", in_units=True),
    Column("best", "best", lambda line: line.best, 2, narrow="best", in_units=True),
    Column("selected", "selected", lambda line: line.selected, 2, narrow="se-\nlected", in_units=True),
    Column("percentile", "percentile", lambda line: line.percentile, 1, narrow="per-\ncentile"),
    Column("agreement", "tau", lambda line: line.agreement, 2, narrow="tau", optional=True),
    Column("seconds", "seconds", lambda line: line.seconds, 0, narrow="seconds"),
    Column("compute", "compute, s", lambda line: line.compute, 0, optional=True),
    Column(
        "flops", "training TFLOPs", lambda line: None if line.flops is None else line.flops / 1e12, 3, optional=True
    ),
    Column("device", "device", lambda line: line.device),
    AGAINST_BASELINE,
    AGAINST_RANDOM,
)
# Stands in the place of the test of the baseline recipe against itself.
BASELINE = "baseline"


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
    computes = [row.compute for row in good if row.compute is not None]
    flops = [row.flops for row in good if row.flops is not None]
    devices = list(dict.fromkeys(row.device for row in rows))
    return Line(
        recipe=recipe,
        values=tuple(values),
        columns=columns,
        failed=len(rows) - len(good),
        selected=selected_by([row.values[columns.select] for row in good], values, better=columns.better),
        percentile=mean(percentiles) if percentiles else None,
        agreement=mean(agreements) if agreements else None,
        seconds=mean([row.seconds for row in good]) if good else None,
        compute=mean(computes) if computes else None,
        flops=mean(flops) if flops else None,
        device=", ".join(devices),
        against_baseline=BASELINE if is_baseline else columns.verdict(values, baseline),
        against_random=against_random,
    )


def selected_by(
    select: Sequence[float], report: Sequence[float], *, better: Literal["higher", "lower"] = "higher"
) -> float | None:
    """The reported value that belongs to the best selecting value, the first of equal ones; None of none."""
    if not select:
        return None
    best = max if better == "higher" else min
    return report[best(range(len(select)), key=lambda index: select[index])]


def reference_line(
    name: str, values: Sequence[float], selected: float | None, percentile: float | None, *, columns: Columns
) -> Line:
    """A line of architectures that no search found."""
    return Line(name, tuple(values), columns, selected=selected, percentile=percentile)


# Text


def to_markdown(lines: Sequence[Line], *, caption: str, baseline: str) -> str:
    """A table in Markdown with a caption."""
    shown = _columns(lines)
    head = [column.heading.format(baseline=baseline) for column in shown]
    cells = [[column.cell(line) for column in shown] for line in lines]
    widths = [max(len(row[column]) for row in (head, *cells)) for column in range(len(head))]

    def written(row: Sequence[str]) -> str:
        return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([caption, "", written(head), rule, *map(written, cells)]) + "\n"


def to_csv(lines: Sequence[Line]) -> str:
    """The table with all digits."""
    return _csv([[column.name for column in COLUMNS], *([column.value(line) for column in COLUMNS] for line in lines)])


def rich_table(lines: Sequence[Line]) -> Any:
    """The numbers as a `rich.table.Table`, for a terminal of 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    without_failures = not any(line.failed for line in lines)
    shown = [column for column in _columns(lines) if not (column.name == "failed" and without_failures)]
    shown = [column for column in shown if column.narrow is not None]
    for column in shown:
        is_name = column.name == "recipe"
        table.add_column(
            column.narrow or "",
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold",
            min_width=17 if is_name else None,
        )
    for line in lines:
        table.add_row(*(column.cell(line) for column in shown))
    return table


def verdicts_text(lines: Sequence[Line], *, baseline: str) -> str:
    """The significance tests of all recipes, one line for each thing that they are tested against."""
    texts = []
    for column in (AGAINST_BASELINE, AGAINST_RANDOM):
        verdicts = {line.recipe: column.cell(line) for line in lines if column.cell(line) not in ("", BASELINE)}
        alike = len(set(verdicts.values())) == 1
        said = next(iter(verdicts.values())) if alike else ", ".join(f"{one} {text}" for one, text in verdicts.items())
        if verdicts:
            texts.append(f"{column.heading.format(baseline=baseline).capitalize()}: {said}.")
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


def _columns(lines: Sequence[Line]) -> list[Column]:
    """The columns that are shown: all but the optional ones without a value."""
    return [column for column in COLUMNS if not column.optional or any(column.cell(line) for line in lines)]


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_as_cell(value) for value in line] for line in lines])
    return text.getvalue()


def _as_cell(value: Any) -> Any:
    if isinstance(value, str):
        return csv_cell(value)
    return "" if value is None else value
