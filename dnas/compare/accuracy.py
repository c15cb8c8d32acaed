"""The accuracy of an architecture that was found, from a table or by training from new weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from dnas.compare.grid import RETRAINED
from dnas.compare.row import CompareRow, Found
from dnas.core.architecture import Architecture
from dnas.core.run import RETRAIN, Run
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import comparable_training
from dnas.jobs.retrain import retrain_command
from dnas.system.display import Display
from dnas.system.errors import NonFiniteLoss
from dnas.system.plain_data import to_plain
from dnas.system.threads import num_threads
from dnas.table import Table
from dnas.training.row import Row


def table_digest(table: Table) -> str:
    """A text that changes with any number of a table."""
    content = hashlib.sha256()
    for name in sorted(table.columns):
        content.update(name.encode() + b"\0" + table.columns[name].tobytes())
    return content.hexdigest()[:16]


def looked_up(row: CompareRow, table: Table) -> CompareRow:
    """The row with what a table says of every architecture in it, instead of what another table said.

    A recipe that drops edges, by a threshold for instance, may find what the table does not hold: no result.
    """
    assert row.found is not None
    found, digest = row.found, table_digest(table)
    kept = {name: value for name, value in found.values.items() if name in (RETRAINED.select, RETRAINED.report)}
    trajectory = tuple(_with_table_values(part, table) for part in row.trajectory)
    try:
        found = replace(found, values={**kept, **table_values(table, found.architecture)})
    except ValueError as error:
        failure = f"what was found is not in the table: {error}"
        return replace(row, found=None, failure=failure, trajectory=trajectory, table=digest)
    return replace(row, found=found, trajectory=trajectory, table=digest)


def _with_table_values(found: Found, table: Table) -> Found:
    """The same with the table's accuracies; with none if the table does not hold the architecture."""
    try:
        return replace(found, values=table_values(table, found.architecture))
    except ValueError:
        return replace(found, values={})


def table_values(table: Table, architecture: Architecture) -> dict[str, float]:
    """The accuracy of an architecture in each column of a table, without columns that lack it.

    Raises:
        UserError: the table does not hold such an architecture.
    """
    row = table.row_of(architecture)
    values = {name: float(column[row]) for name, column in table.columns.items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def retrained(run: Run, job: Job, row: CompareRow, display: Display) -> CompareRow:
    """The row with accuracies of the network that was found, trained from new weights."""
    data = read_data(run, job, display)
    try:
        retrain_command(run, job, data, display)
        with num_threads(job.threads):
            trained = comparable_training(run, job, data).row("found", run.load_architecture(), run=run.child(RETRAIN))
    except NonFiniteLoss as error:
        display.say(f"{row.recipe}, seed {row.seed}, failed in retraining: {error}")
        return replace(row, found=None, failure=f"retraining: {error}")
    return replace(row, settings=to_plain(job)).with_values(measured_values(trained))


def measured_values(row: Row) -> dict[str, float]:
    """The values of a trained network as the table has them, shares in percent."""
    columns = replace(RETRAINED, metric=row.metric)
    return {columns.select: columns.in_units(row.validation), columns.report: columns.in_units(row.test)}
