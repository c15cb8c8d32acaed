"""The options by which Ray's workers do a part of a command's work."""

from __future__ import annotations

from collections.abc import Iterable

from jsonargparse import ArgumentParser, Namespace

from dnas.distributed.ray_tasks import RayTasks
from dnas.jobs.job import Job
from dnas.system.errors import UserError


def add_workers(parser: ArgumentParser) -> None:
    """Add `--ray` and `--gpus_per_row`."""
    parser.add_argument(
        "--ray",
        type=str | None,
        default=None,
        help="'local' trains networks at the same time on this machine, 'auto' or HOST:PORT on a Ray cluster",
    )
    parser.add_argument("--gpus_per_row", type=float | None, default=None, help="with --ray, GPUs of each network")


def check_workers(ray: str | None, gpus: float | None) -> None:
    """Check that the options fit.

    Raises:
        UserError: GPUs are given without Ray.
    """
    if ray is None and gpus is not None:
        raise UserError("--gpus_per_row has no effect without --ray; add that, or leave it out.")


def workers_of(ray: str | None, gpus: float | None, jobs: Iterable[Job]) -> RayTasks | None:
    """Who does the work; None for this process. Each has as many cores as the jobs have threads."""
    check_workers(ray, gpus)
    return None if ray is None else RayTasks(ray, gpus or 0.0, max(job.threads or 1 for job in jobs))


def workers_words(config: Namespace) -> tuple[str, ...]:
    """The options as they were given, for the command that goes on."""
    ray = () if config.ray is None else ("--ray", config.ray)
    return (*ray, *(() if config.gpus_per_row is None else ("--gpus_per_row", str(config.gpus_per_row))))
