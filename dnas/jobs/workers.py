"""Trainings of a comparison in advance, on Ray's workers; the commands then find them finished in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.data.sample_kind import SampleKind
from dnas.distributed.ray_tasks import RayTasks
from dnas.jobs.budget import random_architectures
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import comparable_training
from dnas.system.display import Display, Silent
from dnas.system.errors import UserError
from dnas.system.threads import num_threads
from dnas.training.baseline import random_places


def train_on_workers(
    run: Run,
    job: Job,
    architectures: Mapping[Path, Architecture],
    workers: RayTasks,
    display: Display,
    *,
    search: Run | None = None,
) -> None:
    """Train networks of a run, each in its folder below the run's, as `comparable_training` does.

    Args:
        run: the folder with the data of the job.
        job: with the settings of the retraining.
        architectures: by their folders, such as Path('baseline/000').
        workers: who trains.
        display: shows what is done.
        search: the search whose weights a module of the user's own starts from; None where it is that of `run`.

    Raises:
        UserError: some were not trained; the others are.
    """
    tasks = {
        str(place): partial(trained, run.path, (search or run).path, job, place, one)
        for place, one in architectures.items()
    }
    check_all_trained(workers.carry_out(tasks, folder=run.path, say=display.say), len(tasks))


def train_random_on_workers(
    run: Run, job: Job, kind: SampleKind, num: int, workers: RayTasks, display: Display
) -> None:
    """Train the `num` random networks of a run's baseline, whose data are of this kind.

    Raises:
        UserError: some were not trained; the others are.
    """
    train_on_workers(run, job, random_places(random_architectures(job, run, kind), num), workers, display)


def check_all_trained(failed: Mapping[str, str], num: int) -> None:
    """Check that none of `num` networks has failed.

    Raises:
        UserError: some have, by name with the reason.
    """
    if failed:
        told = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise UserError(f"{len(failed)} of {num} networks were not trained: {told}. The same command goes on.")


def trained(run: Path, search: Path, job: Job, place: Path, architecture: Architecture) -> str:
    """On a worker: train and measure one network, or read what was done before; what it reaches, in words."""
    quiet = Silent()
    data = read_data(Run(run), job, quiet)
    with num_threads(job.threads):
        training = comparable_training(Run(search), job, data)
        row = training.row(str(place), architecture, run=Run(run / place), display=quiet)
    return f"{place}: {row.metric} {row.validation:.4g} on held-out images"
