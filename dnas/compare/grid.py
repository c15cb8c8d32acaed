"""What is compared: recipes, seeds, the table of accuracies and its columns, and the folder for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dnas.compare.table import (
    Columns,
)
from dnas.core.run import Run
from dnas.finalists.opponents.opponent import Opponent
from dnas.jobs.job import Job
from dnas.space import NasBench201Space
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.lock import locked
from dnas.table import RankAgreement, Table
from dnas.task.base import Task
from dnas.task.classification import Classification
from dnas.task.measurement import LOSS

# What retraining measures, by the names of columns.
RETRAINED = Columns("retrained_validation", "retrained_test")
# The columns by default, if the table has them.
DEFAULTS = Columns("valid200_c10", "test200_c10")


# Seconds for which a process waits while another one writes a row or the tables, which takes a fraction of one.
_WAIT = 60.0


@dataclass(frozen=True)
class Grid:
    """The searches that are compared, and the folder for their results.

    Args:
        jobs: the settings of each recipe, by its name; the seed in them is replaced.
        seeds: number of seeds, from 0 on.
        out: folder for searches, rows and tables.
        baseline: name of the recipe that the others are tested against.
        table: table in which accuracies are looked up; None retrains the architectures that are found.
        columns: columns of the table, or `RETRAINED`.
        num_random: without a table, number of random architectures that are retrained alike.
        agreement: with a table, number of random architectures over which each supernet's ranking is compared with it
            at the end of its search; 0 for no comparison.
        opponents: by the names of their rows, what spends the compute of the baseline recipe's search of the same seed.
    """

    jobs: Mapping[str, Job]
    seeds: int
    out: Path
    baseline: str
    table: Table | None
    columns: Columns
    num_random: int = 8
    agreement: int = 0
    opponents: Mapping[str, Opponent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"seeds must be at least 1; got {self.seeds}.")
        if self.num_random < 1:
            raise UserError(f"num_random must be at least 1; got {self.num_random}.")
        if self.agreement and self.table is None:
            raise UserError("agreement has no effect without a table; add one, or leave it out.")
        self.watching()  # which checks the number
        if self.baseline not in self.jobs:
            raise UserError(
                f"The baseline recipe must be one of the recipes, {', '.join(self.jobs)}; got {self.baseline!r}."
            )
        both = sorted(set(self.jobs) & set(self.opponents))
        if both:
            raise UserError(f"A recipe and an opponent are both called {both[0]!r}; rename the recipe's file.")
        for name, job in self.jobs.items():
            if job.time is not None:
                raise UserError(
                    "dnas compare gives every recipe the same epochs, not a time; use --search.epochs instead of "
                    f"the time {job.time!r} of {name}."
                )
            if job.seed != 0:
                raise UserError(f"dnas compare takes the seeds 0, 1 ... of --seeds; leave out seed {job.seed}.")
            if self.table is not None and (job.model is not None or not isinstance(job.space, NasBench201Space)):
                raise UserError(
                    f"The table is of space {self.table.space!r}, and {name} searches {searched_in(job)}: give "
                    "--space dnas.NasBench201Space, or leave out --table, to retrain what is found."
                )

    def run(self, recipe: str, seed: int) -> Run:
        """The search of one recipe and seed."""
        return Run(self.out / "searches" / recipe / f"seed-{seed}")

    @contextmanager
    def writing(self, display: Display) -> Iterator[None]:
        """Within the block this process alone writes rows and tables, beside other processes that search.

        What a killed process left unfinished there is removed.
        """
        with locked(self.out, display.say, wait=_WAIT):
            yield

    def row_path(self, recipe: str, seed: int) -> Path:
        return self.out / "rows" / f"{recipe}-seed-{seed}.json"

    def watching(self) -> list[RankAgreement]:
        """The observers of each search."""
        if self.table is None or not self.agreement:
            return []
        return [RankAgreement(self.table, self.columns.select, self.agreement)]

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Recipe or opponent, and seed, of every run: all of a seed before the next one, opponents after recipes."""
        return [(name, seed) for seed in range(self.seeds) for name in (*self.jobs, *self.opponents)]

    def job(self, name: str, jobs: Mapping[str, Job]) -> Job:
        """The job of a recipe; opponents have that of the baseline recipe."""
        return jobs[name if name in jobs else self.baseline]


def searched_in(job: Job) -> str:
    """What a job searches, in words: the name of a space, or a module of the user's own."""
    return repr(job.space.name) if job.model is None else job.model


def columns_of(table: Table | None, select: str | None, report: str | None, task: Task = Classification()) -> Columns:
    """Which columns of a table select and report; without a table those of retraining, of the task's first metric.

    Raises:
        UserError: the table has no such column, or neither the usual ones nor a name is there.
    """
    if table is None:
        if select or report:
            raise UserError("--select and --report name columns of a table; without --table leave them out.")
        name, metric = next(iter(task.metrics().items()), (LOSS, None))
        return replace(RETRAINED, metric=name, better="lower" if metric is None else metric.better)
    names = []
    for option, name, usual in (("select", select, DEFAULTS.select), ("report", report, DEFAULTS.report)):
        if (name or usual) not in table.columns:
            raise UserError(
                f"The table has no column {name or usual!r}; name another with --{option}, of "
                f"{', '.join(sorted(table.columns))}."
            )
        names.append(name or usual)
    return Columns(*names)
