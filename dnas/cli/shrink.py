"""`dnas shrink`: a trained model of the user's own, smaller under a budget."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.cli.ranks import shown
from dnas.cli.shared import goes_on_with
from dnas.core.run import Run, run_of_rank, writing
from dnas.distributed.ranks import ranks
from dnas.jobs.report import report_at_end
from dnas.jobs.run_folder import new_run_folder
from dnas.jobs.shrink import ShrinkJob, begin_shrinking, shrink_command


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=str, help="package.module:name of the model, or of a function that returns it")
    parser.add_argument(
        "--budget",
        type=str,
        nargs="+",
        required=True,
        help="upper limit such as 'flops<=50%', 'parameters<=300k' or 'milliseconds<=8', or several",
    )
    parser.add_argument(
        "--run", type=Path | None, default=None, help="folder for all results; by default runs/DATA-DATE-TIME"
    )
    parser.add_argument(
        "--keep",
        type=str,
        nargs="+",
        default=(),
        help="modules of the model that stay as they are, with all that lies in them: patterns of names such as "
        "layers.0 or '*.conv1'",
    )
    for name, what in (("--mean", "mean"), ("--std", "deviation")):
        parser.add_argument(
            name,
            type=float,
            nargs="+",
            default=None,
            help=f"{what} of each channel, such as 0.5 0.5 0.5, as the model was trained with, where 255 is 1; by "
            "default measured on the data",
        )
    parser.add_class_arguments(ShrinkJob, None, sub_configs=False, skip={"model", "budget", "keep", "mean", "std"})


def _run(config: Namespace, given: Arguments) -> None:
    named = {field.name: config[field.name] for field in fields(ShrinkJob)}
    several = {name: tuple(named[name]) for name in ("budget", "keep", "mean", "std") if named[name] is not None}
    job = ShrinkJob(**{**named, **several})
    folder = config.run or ranks().from_first(lambda: new_run_folder(job.data))
    words = _words(given, Run(folder))
    with shown() as display, run_of_rank(Run(folder)) as run, goes_on_with(*words), writing(run, display.say):
        begin_shrinking(run, job)
        shrink_command(run, job, display)
        report_at_end(run, None, display)
        display.say(f"Everything is in {run.path}.")


def _words(given: Arguments, run: Run) -> list[object]:
    """The command again, with the folder that it chose."""
    words = list(given.words)
    return ["shrink", *words, *(() if "--run" in given.names else ("--run", run.path))]


COMMAND = Command(
    "shrink",
    _fill,
    _run,
    other_names={"--folder": "--run"},  # torchrun takes --run for its own --run-path
    sizes_to_lower="--settings.fine_tuning.batch_size",
    takes_ranks=True,
)
