"""The data that a job names, opened as its task reads them, and the task that they stand for."""

from __future__ import annotations

from dataclasses import replace

from dnas.data import Catalog, SampleKind, open_source
from dnas.data.target_kinds import task_of
from dnas.jobs.job import Job
from dnas.system.errors import UserError


def open_data(job: Job) -> Catalog:
    """The data of a job, with no image decoded.

    Raises:
        FileNotFoundError, UserError: as `dnas.data.open_source`.
    """
    return open_source(job.data, image_column=job.image_column, label_column=job.label_column, task=job.task)


def with_task_of(job: Job, catalog: Catalog) -> Job:
    """The job with the task that its data stand for, where none is named and they are no images with classes.

    Raises:
        UserError: its space is for other data.
    """
    kind = catalog.fixed
    if kind is None:
        return job
    if job.model is None and not _is_for_spaces(kind):
        raise UserError(
            f"{type(job.space).__name__} has networks from square images to one row of outputs, and {catalog.name} has "
            f"{kind}. Give a module of your own with choices in it: --model package.module:name."
        )
    return job if job.task is not None else replace(job, task=task_of(kind))


def _is_for_spaces(kind: SampleKind) -> bool:
    """Whether the networks of spaces, from square images to one row of outputs, are for these samples."""
    is_square = len(kind.shape) == 3 and kind.shape[1] == kind.shape[2]
    return is_square and kind.inputs != "tokens" and kind.targets != "map" and len(kind.target_shape) <= 1
