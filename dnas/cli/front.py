"""`dnas front`: architectures for a row of budgets from one search."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.cli.run_settings import job_of, trust_words, with_retraining
from dnas.cli.shared import add_trust, goes_on_with
from dnas.cli.workers import add_workers, workers_of, workers_words
from dnas.core.run import Run, writing
from dnas.cost.budget import Unit
from dnas.jobs.front import FOLDER, find_front
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import check_baseline, comparable_training
from dnas.jobs.workers import train_on_workers
from dnas.system.display import Display, RichDisplay
from dnas.system.threads import num_threads


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a finished search")
    parser.add_argument("--budget", type=Unit, default="flops", help="unit of the budgets")
    parser.add_argument(
        "--at",
        nargs="+",
        default=[],
        metavar="NUMBER",
        help="budgets, such as 20% 40% or 300k",
    )
    parser.add_argument("--points", type=int, default=5, help="number of budgets where --at gives none")
    parser.add_argument(
        "--retrain", type=int, nargs="+", default=[], metavar="N", help="numbers in the table of networks to retrain"
    )
    add_trust(parser)
    add_workers(parser)


def _run(config: Namespace, given: Arguments) -> None:
    run = Run.open(config.run)
    job = with_retraining(run, job_of(run, trust=config.trust), trust=config.trust)
    if config.retrain:
        check_baseline(job)
    words = ("front", run.path, "--budget", config.budget, "--points", config.points)
    words = (*words, *(("--at", *config.at) if config.at else ()), *trust_words(job))
    words = (*words, *(("--retrain", *config.retrain) if config.retrain else ()), *workers_words(config))
    with RichDisplay() as display, goes_on_with(*words), writing(run, display.say):
        _found(run, job, config, display)


def _found(run: Run, job: Job, config: Namespace, display: Display) -> None:
    """Find the front, retrain what is asked for, and write and show the table."""
    data = read_data(run, job, display)
    front = find_front(run, job, config.budget, config.at, config.points, data.kind)
    if config.retrain:
        training = comparable_training(run, job, data)
        workers = workers_of(config.ray, config.gpus_per_row, [job])
        if workers is not None:
            places = {Path(FOLDER) / name: one for name, one in front.to_train(config.retrain).items()}
            train_on_workers(run, job, places, workers, display)
        with num_threads(job.threads):
            front = front.trained(
                config.retrain,
                lambda name, architecture: training.row(
                    name, architecture, run=run.child(FOLDER).child(name), display=display
                ),
            )
    front.write(run)
    display.say(front.table())
    display.say(f"Table, picture and architectures are in {run.path / FOLDER / config.budget}.")


COMMAND = Command("front", _fill, _run)
