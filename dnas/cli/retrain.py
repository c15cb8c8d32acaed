"""`dnas retrain`: the architecture that was found, trained from new weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.own_model import add_model
from dnas.cli.parser import Command
from dnas.cli.ranks import shown
from dnas.cli.run_settings import job_of, say_next, trust_words, with_retraining
from dnas.cli.shared import goes_on_with, part_of
from dnas.core.run import RETRAIN, Run, run_of_rank, writing
from dnas.distributed.ranks import ranks
from dnas.jobs.images import read_data
from dnas.jobs.job import Job, fitted_to_space
from dnas.jobs.retrain import plan_retrain, retrain_command
from dnas.system.difference import first_difference
from dnas.system.errors import UserError
from dnas.system.plain_data import to_plain
from dnas.training.settings import RetrainSettings

_ASKED = "asked"  # name of the JSON file with the options of the command that began a retraining


@dataclass(frozen=True)
class RetrainOptions:
    """The time, threads and kernels that a retraining may use, and its teacher.

    Args:
        time: how long retraining may take, such as 90s, 30min or 2h; channels, cells and epochs are lowered to fit.
        threads: number of CPU threads that PyTorch uses; by default the fewest that are as fast as all of them.
        kernels: 'auto' trains separable convolutions by compiled kernels where numba is installed (the extra `cpu`):
            the same results up to rounding, in less time on a CPU. 'plain' takes PyTorch's operations. By default as in
            the search.
        teacher: a run that was retrained, or package.module:name of a trained network, whose outputs the network learns
            besides the labels.
    """

    time: str | None = None
    threads: int | None = None
    kernels: Literal["auto", "always", "plain"] | None = None
    teacher: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads must be at least 1; got {self.threads}.")


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a finished search")
    add_model(parser)
    parser.add_class_arguments(RetrainOptions, None, sub_configs=False)
    parser.add_class_arguments(RetrainSettings, None, sub_configs=False)


def _defaults(given: Arguments) -> Mapping[str, Any]:
    """What the run's recipe says, or what a retraining that has begun goes on with."""
    if not given.positionals:
        return {}
    run = Run(given.positionals[0])
    if not run.config_path.exists():
        return {}
    trust, model = "--trust" in given.names, given.last("--model") or None
    job = with_retraining(run, job_of(run, trust=trust, model=model), trust=trust, model=model)
    return to_plain(fitted_to_space(job).retrain)


def _run(config: Namespace, given: Arguments) -> None:
    with shown() as display, run_of_rank(Run.open(config.run)) as run, writing(run, display.say):
        job = job_of(run, trust=config.trust, model=config.model)
        settings, options = part_of(config, RetrainSettings), part_of(config, RetrainOptions)
        run.load_architecture()  # before anything that takes long
        data = read_data(run, job, display)
        child, words = run.child(RETRAIN), _asked(given)
        if child.config_path.exists():
            job = with_retraining(run, job, trust=config.trust, model=config.model)
            if words != _asked_before(child):  # the same command goes on, whatever was planned for it
                _check_same(child, job, settings, options)
                job = replace(job, retrain=settings)
        else:
            # What was planned within a time keeps it, unless sizes are asked for here.
            time = options.time or (job.time if settings == job.retrain else None)
            asked = replace(job, retrain=settings, kernels=options.kernels or job.kernels)
            plan = partial(plan_retrain, run, asked, data, time=time, threads=options.threads, display=display)
            job = ranks().from_first(partial(plan, teacher=options.teacher))
            child.save_json(_ASKED, words)
        with goes_on_with("retrain", run.path, *trust_words(job)):
            teacher = _teacher(options, child, trust=config.trust)
            retrain_command(run, job, data, display, teacher=teacher)
        say_next(display, run, job, "evaluate", "export")


def _asked(given: Arguments) -> dict[str, list[str]]:
    """The options that were given, and their values."""
    return {name: list(given.values(name)) for name in sorted(given.names - {"--trust", "--model"})}


def _teacher(options: RetrainOptions, child: Run, *, trust: bool) -> str | None:
    """The teacher that is given, or that was when the retraining began.

    Raises:
        UserError: only a file names code that makes the teacher.
    """
    before = _asked_before(child)
    given = before.get("--teacher", []) if isinstance(before, dict) else []
    if options.teacher is not None or not given:
        return options.teacher
    if ":" in given[-1] and not Path(given[-1]).exists() and not trust:
        raise UserError(
            f"{child.path} learns from {given[-1]}, which is code that only a file names: give --teacher again, or "
            "--trust."
        )
    return given[-1]


def _asked_before(child: Run) -> object:
    """The same of the command that began a retraining; None where it is not known."""
    return child.load_json(_ASKED) if (child.path / f"{_ASKED}.json").exists() else None


def _check_same(child: Run, begun: Job, asked: RetrainSettings, options: RetrainOptions) -> None:
    """See that a retraining that has begun goes on with its own settings."""
    difference = first_difference(to_plain(begun.retrain), asked)
    # Another teacher is refused by the training's own checkpoint.
    given = {name: value for name, value in vars(options).items() if value is not None and name != "teacher"}
    idle = [f"--{name}" for name, value in given.items() if value != getattr(begun, name)]
    if difference or idle:
        what = f"setting {difference}" if difference else f"{idle[0]} has no effect any more"
        raise UserError(
            f"{child.path} has begun with settings of its own: {what}. Go on without other settings, or move that "
            "folder away to retrain anew."
        )


COMMAND = Command("retrain", _fill, _run, defaults=_defaults, other_names={"--retrain.": "--"}, takes_ranks=True)
