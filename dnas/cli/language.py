"""`dnas language`: a recurrent cell for a text, and cells that are trained beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.beside import add_beside, beside_words, named_architectures
from dnas.cli.parser import Command
from dnas.cli.recipes import add_recipe, with_default, with_files
from dnas.cli.run_settings import built, entry_of, trust_words
from dnas.cli.shared import add_trust, check_resume, goes_on_with, part_of
from dnas.core.run import Run, writing
from dnas.jobs.recipe import LANGUAGE, recipe_names
from dnas.jobs.report import report_at_end
from dnas.jobs.run_folder import check_new, new_run_folder
from dnas.language.commands import ENTRY, begin_language, language_command, plan_language, read_text
from dnas.language.job import LanguageJob
from dnas.language.settings import LanguageSearch, LanguageTraining
from dnas.system.display import Display, RichDisplay
from dnas.system.errors import UserError


@dataclass(frozen=True)
class LanguageOptions:
    """Where a search for a recurrent cell goes.

    Args:
        run: folder for the results; by default runs/TEXT-DATE-TIME.
        resume: folder of a run to go on with; all settings come from it, but --num and --beside, which may add cells.
    """

    run: Path | None = None
    resume: Path | None = None


# What a recipe or a config.yaml may set.
_SETTINGS = {**get_type_hints(LanguageJob), **get_type_hints(LanguageSearch), "train": LanguageTraining}


def _fill(parser: ArgumentParser) -> None:
    parser.usage = "dnas language TEXT [options], or dnas language --resume RUN"
    parser.add_argument("text", type=str, nargs="?", help="a text file, or a folder with train, valid and test files")
    add_recipe(parser, f"sizes and a method: {', '.join(recipe_names(LANGUAGE))}, or a YAML file of settings")
    add_trust(parser)
    parser.add_class_arguments(LanguageOptions, None, sub_configs=False)
    _add_job(parser)


def _understood(given: Arguments) -> Arguments:
    given = with_files(with_default(given, "laptop"), {**_SETTINGS, "trust": bool}, LANGUAGE)
    check_resume(given, {"--num", "--beside"})
    return given


def _add_job(parser: ArgumentParser) -> None:
    """All settings of a `LanguageJob` but the text, those of the search at the top."""
    parser.add_class_arguments(LanguageJob, None, sub_configs=False, skip={"text", "beside", "search", "train"})
    add_beside(parser, "CELL", "DARTS_RNN_V2")
    parser.add_class_arguments(LanguageSearch, None, sub_configs=False)
    parser.add_class_arguments(LanguageTraining, "train", sub_configs=False)


def _job(config: Namespace) -> LanguageJob:
    names = {field.name for field in fields(LanguageJob)} - {"beside", "search", "train"}
    return LanguageJob(
        beside=tuple(config.beside),
        search=part_of(config, LanguageSearch),
        train=config.train,
        **{name: config[name] for name in names},
    )


def language_job_of(run: Run, *, trust: bool) -> LanguageJob:
    """The job of an existing run, from its config.yaml.

    Raises:
        UserError: the file is damaged, or names code outside dnas and is not trusted.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--text", type=str)
    _add_job(parser)
    data = entry_of(run, ENTRY, "language", _SETTINGS, trust=trust)
    if "text" not in data:
        raise UserError(f"{run.config_path} is damaged: it does not say text.")
    return built(parser, data, str(run.config_path), _job)


def _run(config: Namespace, given: Arguments) -> None:
    with RichDisplay() as display:
        run, job = _asked(config, given)
        with writing(run, display.say):
            _searched(run, job, config, display)


def _searched(run: Run, job: LanguageJob, config: Namespace, display: Display) -> None:
    """Search in the run, and train and compare its cells."""
    corpus = read_text(job)
    beside = named_architectures(job.beside, job.space.name)
    if config.resume is None:
        job = plan_language(run, job, corpus, display)
        begin_language(run, job, corpus)
    words = ("--num", job.num, *beside_words(job.beside), *trust_words(job))
    with goes_on_with("language", "--resume", run.path, *words):
        display.say(language_command(run, job, corpus, beside, display))
    report_at_end(run, job.search.search, display)
    display.say(f"Everything is in {run.path}.")


def _asked(config: Namespace, given: Arguments) -> tuple[Run, LanguageJob]:
    """The run to work in, new or begun, and its job."""
    if config.resume is None:
        if config.text is None:
            raise UserError("`dnas language` needs TEXT, or --resume RUN. See `dnas language --help`.")
        job = _job(config)
        run = Run(config.run or new_run_folder(job.text))
        check_new(run, "language")
        return run, job
    if config.text is not None:
        raise UserError(f"{config.text} would have no effect: with --resume the text is that of the run. Leave it out.")
    run = Run.open(config.resume)
    job = language_job_of(run, trust=config.trust)
    return run, replace(
        job,
        num=config.num if "--num" in given.names else job.num,
        beside=tuple(config.beside) if "--beside" in given.names else job.beside,
    )


COMMAND = Command(
    "language",
    _fill,
    _run,
    _understood,
    other_names={"--num_random": "--num"},
    sizes_to_lower="--batch_size, --hidden, --train.batch_size or --train.hidden",
)
