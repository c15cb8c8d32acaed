"""The settings of a run that exists, read from its config.yaml; code outside dnas is followed with --trust alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from dnas.cli.messages import plainer
from dnas.cli.own_model import not_trusted
from dnas.cli.shared import part_of, typed
from dnas.core.run import RETRAIN, Run, check_not_shrunk
from dnas.jobs.job import Job
from dnas.jobs.recipe import check_names
from dnas.system.display import Display
from dnas.system.errors import UserError
from dnas.system.plain_data import check_only_own_parts, to_plain

if TYPE_CHECKING:
    from dnas.language.job import LanguageJob

_Settings = TypeVar("_Settings")

# The entries of a config.yaml that can name parts.
_WITH_PARTS = ("task", "space", "search", "finalists", "retrain", "train", "loss", "dropout")


def job_of(run: Run, *, trust: bool, model: str | None = None) -> Job:
    """The job of an existing run.

    Args:
        run: the run.
        trust: whether code outside dnas that the file names may be imported.
        model: import path of the user's own module, where the command line names it; it stands for the file's.

    Raises:
        UserError: the file is damaged, or names code outside dnas and is neither trusted nor named.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Job, None, sub_configs=False)
    data = entry_of(run, "job", "search", get_type_hints(Job), trust=trust)
    data["model"] = _model_to_import(data.get("model"), str(run.config_path), trust=trust, named=model)
    job = built(parser, data, str(run.config_path), lambda config: part_of(config, Job))
    if job.missing_sizes:
        raise UserError(f"{run.config_path} is damaged: it does not say {', '.join(job.missing_sizes)}.")
    return job


def _model_to_import(recorded: object, source: str, *, trust: bool, named: str | None) -> str | None:
    if recorded is None:
        if named is not None:
            raise UserError(f"--model would have no effect: {source} is of a search in a space. Leave it out.")
        return None
    if not isinstance(recorded, str):
        raise UserError(f"{source} is damaged: model must be a text such as mypackage.net:Net; got {recorded!r}.")
    if named is None and not trust:
        raise UserError(not_trusted(source, recorded))
    return named or recorded


def with_retraining(run: Run, job: Job, *, trust: bool, model: str | None = None) -> Job:
    """The job with the settings of its retraining, where that has begun; else as it is."""
    child = run.child(RETRAIN)
    return job_of(child, trust=trust, model=model) if child.config_path.exists() else job


def retrained(config: Namespace) -> tuple[Run, Job]:
    """The run that a command names, which has been retrained, and its job with the settings of that."""
    run = Run.open(config.run)
    child = run.child(RETRAIN)
    if not child.config_path.exists():
        check_not_shrunk(run.path)
        raise FileNotFoundError(f"{run.path} has not been retrained: `dnas retrain {run.path}` does it.")
    return run, job_of(child, trust=config.trust, model=config.model)


def entry_of(run: Run, entry: str, command: str, hints: dict[str, Any], *, trust: bool) -> dict[str, Any]:
    """The settings that a command wrote into a run's config.yaml, as plain data whose names have been checked."""
    source = str(run.config_path)
    data = run.read_config().get(entry)
    if data is None:
        check_not_shrunk(run.path)
        raise UserError(
            f"{source} has no entry {entry!r}: it is not the config.yaml of a run that `dnas {command}` began."
        )
    check_names(data, hints, f"{source}, {entry}")
    if not trust:
        _check_own(data, source)
    return dict(data)


def built(
    parser: ArgumentParser, data: dict[str, Any], source: str, build: Callable[[Namespace], _Settings]
) -> _Settings:
    """An object of the settings that a file holds."""
    try:
        with redirect_stderr(StringIO()):
            return build(parser.instantiate(parser.parse_object(data)))
    except (ArgumentError, ValueError) as error:
        problem = plainer(str(error), "", ()).removeprefix("--")
        raise UserError(f"{source} is damaged: {problem}") from error


def command_line(job: Job | LanguageJob, *words: object) -> str:
    """What to type for a command on a run of this job: with --trust where its settings name parts outside dnas."""
    return typed(*words, *trust_words(job))


def say_next(display: Display, run: Run, job: Job, *names: str) -> None:
    """Say which commands come next."""
    # Of a space export reads no settings, so it needs no --trust.
    lines = [
        typed(name, run.path) if name == "export" and job.model is None else command_line(job, name, run.path)
        for name in names
    ]
    display.say(f"Next: {'; '.join(lines)}")


def trust_words(job: Job | LanguageJob) -> tuple[str, ...]:
    """The option that later commands on a run of this job need."""
    if isinstance(job, Job) and job.model is not None:
        return ("--trust",)
    try:
        _check_own(to_plain(job), "")
    except UserError:
        return ("--trust",)
    return ()


def _check_own(data: dict[str, Any], source: str) -> None:
    for part in _WITH_PARTS:
        check_only_own_parts(data.get(part), source, part)
