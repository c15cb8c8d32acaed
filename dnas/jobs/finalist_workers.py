"""Trainings of a search's finalists on Ray's workers, ahead of their contest, which finds them in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from dnas.core.run import Run
from dnas.distributed.ray_tasks import RayTasks
from dnas.finalists.contest import FOLDER, Contest, Finalist
from dnas.finalists.settings import Rung
from dnas.jobs.compute import counted
from dnas.jobs.finalists import conditions_of
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.workers import check_all_trained
from dnas.system.devices import named_device
from dnas.system.display import Display, Silent
from dnas.system.interrupt import StopRequest
from dnas.system.threads import num_threads
from dnas.task.words import called, shown


@dataclass(frozen=True)
class FinalistsOnWorkers:
    """Trains finalists on workers, each in its folder, as the contest does.

    Args:
        run: the folder of the search, which all machines see.
        job: the job with all sizes.
        workers: who trains.
        display: shows what is done.
        model: the searched model whose weights they begin with; None for new weights.
    """

    run: Run
    job: Job
    workers: RayTasks
    display: Display
    model: nn.Module | None = None

    def __call__(self, finalists: Sequence[Finalist], rungs: Sequence[Rung]) -> None:
        """Train each finalist in these rungs.

        Raises:
            UserError: some were not trained; the others are.
            Interrupted: somebody wants to stop.
        """
        model = None if self.model is None else deepcopy(self.model).cpu()
        tasks = {one.name: partial(trained, self.run.path, self.job, one, tuple(rungs), model) for one in finalists}
        check_all_trained(self.workers.carry_out(tasks, folder=self.run.path, say=self.display.say), len(tasks))


def trained(run: Path, job: Job, finalist: Finalist, rungs: Sequence[Rung], model: nn.Module | None) -> str:
    """On a worker: train and judge a finalist, or read what was done before; what it reaches, in words.

    What the worker spends is counted in the finalist's folder, and belongs to the compute of the search.
    """
    folder, quiet = Run(run).child(FOLDER), Silent()
    with num_threads(job.threads), counted(folder.child(f"{finalist.number:03d}"), named_device(job.device)):
        data = read_data(Run(run), job, quiet)
        contest = Contest(conditions_of(Run(run), job, data, quiet, model=model), folder, quiet, StopRequest())
        for rung in rungs:
            if not finalist.failure:
                contest.train(finalist, rung)
    if finalist.failure:
        return f"{finalist.name}: {finalist.failure}"
    last = finalist.last
    return f"{finalist.name}: {called(last.metric)} {shown(last.metric, last.value)} on held-out samples"
