"""The command `dnas`: settings from type hints, one clear line for every mistake; the only file with jsonargparse."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, fields, replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, get_type_hints

import torch

from dnas.cli.messages import plainer
from dnas.cli.notes import one_line_for_files_without_digest
from dnas.compare.compare import compare
from dnas.compare.grid import Grid, columns_of
from dnas.core.architecture import Architecture
from dnas.core.run import Run
from dnas.formats import read_architecture
from dnas.jobs.images import read_data
from dnas.jobs.job import Job
from dnas.jobs.judge import baseline_command, check_baseline, evaluate_command
from dnas.jobs.list_spaces import EXAMPLES, facts_of, spaces_text
from dnas.jobs.profile.profile import profile_job
from dnas.jobs.profile.text import profile_text
from dnas.jobs.recipe import (
    FOLDER,
    LANGUAGE,
    check_names,
    check_recipe,
    recipe_names,
    recipe_path,
    search_epochs,
    what_its_space_lacks,
)
from dnas.jobs.retrain import plan_retrain, retrain_command
from dnas.jobs.run_folder import begin, new_run_folder
from dnas.jobs.search import plan_search, search_command
from dnas.language.commands import ENTRY, begin_language, language_command, plan_language, read_text
from dnas.language.job import LanguageJob
from dnas.language.sample import continued, load_language, trained_sizes
from dnas.language.settings import LanguageSearch, LanguageTraining
from dnas.report.describe import describe_architecture
from dnas.report.describe_cell import describe_cell
from dnas.searching.stage import scaled_warmup
from dnas.shipping.export import FORMATS, Format, export
from dnas.shipping.load import RETRAIN, find_network, load_spec
from dnas.shipping.predict import predict, predict_onnx
from dnas.shipping.spec import NetworkSpec, SpaceBuilder
from dnas.space.base import Stem
from dnas.space.recurrent import RecurrentSpace
from dnas.system.allocator import keep_freed_memory
from dnas.system.difference import first_difference
from dnas.system.display import Display, RichDisplay
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted
from dnas.system.plain_data import check_only_own_parts, to_plain
from dnas.table import RankAgreement, Table, convert, load_table, standing, standing_data
from dnas.training.settings import RetrainSettings
from dnas.version import __version__

try:
    from jsonargparse import (
        ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage]
        ArgumentError,
        ArgumentParser,
        Namespace,
    )
except ImportError as error:
    raise SystemExit('The command dnas needs more packages: pip install "dnas[cli]"') from error

# What a user can put right. Anything else is a mistake of ours, or of a user's own part, and keeps its traceback.
USER_ERRORS = (UserError, OSError)
# Options without a value.
FLAGS = ("--help", "--trust", "--json", "--auxiliary", "--supernet")
# What uses less memory when it is lowered, by command.
SIZES_TO_LOWER = {
    "search": "--batch_size, --image_size, --channels or --cells",
    "profile": "--batch_size, --image_size, --channels or --cells",
    "retrain": "--batch_size, --channels or --cells",
    "language": "--batch_size, --hidden, --train.batch_size or --train.hidden",
}
# What a command takes where no recipe is named.
DEFAULT_RECIPES = {"search": "default", "profile": "default", "language": "laptop"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command and exit: 0 done, 2 a mistake in what was asked, 130 stopped by Ctrl-C or SIGTERM."""
    if arguments is None:  # a process of its own, not a call from another program
        keep_freed_memory()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with terminated_like_ctrl_c(), one_line_for_files_without_digest():
            sys.exit(carry_out(arguments))
    except Interrupted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(_out_of_memory(error, arguments), error)
    except USER_ERRORS as error:
        _fail(str(error), error)


def _fail(message: str, error: BaseException) -> NoReturn:
    if os.environ.get("DNAS_TRACEBACK"):
        raise error
    print(f"dnas: {' '.join(message.split()) or type(error).__name__}", file=sys.stderr)
    sys.exit(2)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on the CPU torch says so by a plain RuntimeError."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or ("DefaultCPUAllocator" in str(error) and "memory" in str(error))


def _out_of_memory(error: BaseException, arguments: Sequence[str]) -> str:
    tried = re.search(r"ried to allocate ([\d.]+ ?\w+)", str(error))
    what = f" ({tried[1]} more were needed)" if tried else ""
    return f"Out of memory{what}. Lower {SIZES_TO_LOWER.get(''.join(arguments[:1]), SIZES_TO_LOWER['retrain'])}."


@contextmanager
def terminated_like_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt, where nobody else takes it.

    Outside the main thread, where Python cannot take signals, nothing changes.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


# Parsing


class Command(NamedTuple):
    """One command of `dnas`.

    Args:
        summary: one line for its help.
        fill: adds its arguments to a parser; all that was written after `dnas` tells where defaults come from.
        work: carries it out.
    """

    summary: str
    fill: Callable[[ArgumentParser, Sequence[str]], None]
    work: Callable[[Namespace], None]


def carry_out(arguments: Sequence[str]) -> int:
    """Parse and carry out one command; the exit status comes back.

    Raises:
        UserError: a mistake in the arguments.
    """
    arguments = with_recipe_paths(with_recipe_option(with_underscores(arguments)))
    config = parse(arguments)
    if config is None:
        return 2
    config["written"] = arguments  # dnas compare reads them again for each recipe
    COMMANDS[arguments[0]].work(config)
    return 0


def parse(arguments: Sequence[str]) -> Namespace | None:
    """The settings of one command, parts built; without a command the help is printed, and None comes back.

    Raises:
        UserError: a mistake in the arguments.
    """
    parser, subparsers = build_parser(arguments)
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    try:
        with redirect_stderr(StringIO()):  # jsonargparse prints its whole usage there before it raises
            config = parser.parse_args(with_warmup_in_proportion(arguments))
        if config.subcommand is None:
            parser.print_help()
            return None
        return parser.instantiate(config)[name]
    except ArgumentError as error:
        options = _options_of(subparsers[name]) if name else []
        raise UserError(plainer(str(error), name, options)) from error


def _options_of(parser: ArgumentParser) -> list[str]:
    """The names of all settings as they are written on the command line.

    That is without `class_path` and `init_args`: a part is given as `--search.relaxation`, its setting as
    `--search.weights.lr.start`.
    """
    keys = parser.get_defaults(skip_validation=True).keys()
    return [re.sub(r"\.class_path$|\.init_args(?=\.)", "", key) for key in keys]


def build_parser(arguments: Sequence[str]) -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser of all commands, and that of each.

    Args:
        arguments: what will be parsed; only the command that they begin with gets its own arguments, to save time.
    """
    parser = ArgumentParser(
        prog="dnas",
        description="Differentiable neural architecture search: from a folder of images to an exported network. "
        "`dnas COMMAND --help` explains each setting. With DNAS_TRACEBACK=1 a mistake shows where it was found.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    commands = parser.add_subcommands(required=False, metavar="COMMAND")
    subparsers = {}
    for name, command in COMMANDS.items():
        subparsers[name] = ArgumentParser(description=command.summary, exit_on_error=False)
        if arguments[:1] == [name]:
            command.fill(subparsers[name], arguments)
        commands.add_subcommand(name, subparsers[name], help=command.summary)
    return parser, subparsers


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """`--num-classes 10` as `--num_classes 10`: both ways of writing an option are understood."""
    result = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            option = "--" + option.removeprefix("--").replace("-", "_")
        result.append(option + equals + value)
    return result


def with_recipe_option(arguments: Sequence[str]) -> list[str]:
    """`dnas profile RECIPE` as `dnas profile --recipe RECIPE`, which the parser takes settings from.

    `dnas compare --recipes A B` likewise takes settings from A first; `_jobs` then reads them anew for each recipe.
    Where a new search or a profile names no recipe, it is that of `DEFAULT_RECIPES`.
    """
    if arguments[:1] == ["compare"]:
        if any(argument.partition("=")[0] == "--recipe" for argument in arguments):
            raise UserError("dnas compare has --recipes, for one or more of them; it has no option --recipe.")
        names = [name for option, name in pairwise(arguments) if option == "--recipes"]
        return ["compare", *(["--recipe", names[0]] if names else []), *arguments[1:]]
    if arguments[:1] == ["profile"] and len(arguments) > 1 and not arguments[1].startswith("-"):
        return ["profile", "--recipe", *arguments[1:]]
    options = {argument.partition("=")[0] for argument in arguments}
    default = DEFAULT_RECIPES.get("".join(arguments[:1]))
    if default is not None and not options & {"--recipe", "--resume", "--help", "-h"}:
        return [arguments[0], "--recipe", default, *arguments[1:]]
    return list(arguments)


def with_recipe_paths(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the name of a recipe replaced by its file.

    Raises:
        UserError: neither a recipe nor a file, or the file holds no settings.
    """
    result = list(arguments)
    for index, argument in enumerate(result):
        if argument == "--recipe" and index + 1 < len(result):
            result[index + 1] = _checked_recipe(result[index + 1], result[0])
        elif argument.startswith("--recipe="):
            result[index] = f"--recipe={_checked_recipe(argument.removeprefix('--recipe='), result[0])}"
    return result


def with_warmup_in_proportion(arguments: Sequence[str]) -> list[str]:
    """`--recipe R --search.epochs N` with the warm-up of the recipe in proportion, where it is not given.

    Stages, and the warm-up of each, are scaled by `SearchSettings` itself.
    """
    result, given = list(arguments), dict[str, str]()
    for argument, following in pairwise([*result, ""]):
        option, equals, value = argument.partition("=")
        if option == "--recipe":  # what it says goes over what is written before it
            given.pop("--search.epochs", None)
        given[option] = value if equals else following
    number = given.get("--search.epochs", "")
    is_search = result[:1] in (["search"], ["compare"], ["profile"]) and "--recipe" in given
    if not is_search or "--search.warmup_epochs" in given or not number.isdecimal():
        return result
    warmup, epochs = search_epochs(Path(given["--recipe"]))
    if not 0 < warmup <= epochs or int(number) < 1:
        return result
    return [*result, "--search.warmup_epochs", str(scaled_warmup(warmup, epochs, int(number)))]


def _checked_recipe(name: str, command: str) -> str:
    """The file of a recipe of a command."""
    path = recipe_path(name, LANGUAGE if command == "language" else FOLDER)
    hints = _LANGUAGE_HINTS if command == "language" else {**get_type_hints(Job), **get_type_hints(SearchOptions)}
    check_recipe(path, {**hints, "trust": bool})
    return str(path)


_Settings = TypeVar("_Settings")


def _of(kind: type[_Settings], config: Namespace) -> _Settings:
    """A dataclass from those entries of a parsed command that have the names of its fields."""
    return kind(**{field.name: config[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _notes_on_space(config: Namespace, job: Job) -> list[str]:
    """What to say of the recipes of a command, whose space may be another one than theirs.

    Raises:
        UserError: as `what_its_space_lacks`.
    """
    notes = [what_its_space_lacks(Path(recipe), job.space) for recipe in config.recipe or []]
    return [note for note in notes if note]


# The settings of a run


def job_of(run: Run, *, trust: bool) -> Job:
    """The job of an existing run, from its config.yaml.

    Raises:
        UserError: the file is damaged, or names code outside dnas and is not trusted.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Job, None, sub_configs=False)
    data = _entry_of(run, "job", "search", get_type_hints(Job), trust=trust)
    job = _built(parser, data, str(run.config_path), lambda config: _of(Job, config))
    if job.missing_sizes:
        raise UserError(f"{run.config_path} is damaged: it does not say {', '.join(job.missing_sizes)}.")
    return job


def _entry_of(run: Run, entry: str, command: str, hints: dict[str, Any], *, trust: bool) -> dict[str, Any]:
    """The settings that a command wrote into a run's config.yaml, as plain data whose names have been checked."""
    source = str(run.config_path)
    data = run.read_config().get(entry)
    if data is None:
        raise UserError(
            f"{source} has no entry {entry!r}: it is not the config.yaml of a run that `dnas {command}` began."
        )
    check_names(data, hints, f"{source}, {entry}")
    if not trust:
        _check_own(data, source)
    return dict(data)


def _built(
    parser: ArgumentParser, data: dict[str, Any], source: str, build: Callable[[Namespace], _Settings]
) -> _Settings:
    """An object of the settings that a file holds."""
    try:
        with redirect_stderr(StringIO()):
            return build(parser.instantiate(parser.parse_object(data)))
    except (ArgumentError, ValueError) as error:
        problem = plainer(str(error), "", ()).removeprefix("--")
        raise UserError(f"{source} is damaged: {problem}") from error


def _check_own(data: dict[str, Any], source: str) -> None:
    for part in ("space", "search", "retrain", "train", "loss", "dropout"):
        check_only_own_parts(data.get(part), source, part)


def _names_other_code(job: Job | LanguageJob) -> bool:
    """Whether the settings name parts outside dnas, so that later commands need --trust."""
    try:
        _check_own(to_plain(job), "")
    except ValueError:
        return True
    return False


def _add_trust(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="follow import paths of parts outside dnas in the run's config.yaml"
    )


def command_line(job: Job | LanguageJob, *words: object) -> str:
    """What to type for a command on a run of this job."""
    return shlex.join(["dnas", *map(str, words), *(["--trust"] if _names_other_code(job) else [])])


@contextmanager
def _can_go_on(job: Job | LanguageJob, *words: object) -> Iterator[None]:
    """Tells who stops the command within the block which command goes on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        what = str(stopped) or "Stopped; what was not saved yet will be done again."
        raise Interrupted(f"{what} To go on:\n  {command_line(job, *words)}") from stopped


# profile


def _fill_profile(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    # A name that follows the command is the recipe: see with_recipe_option.
    parser.usage = "dnas profile [RECIPE] [options]"
    parser.add_argument(
        "--recipe", action=ActionConfigFile, help=f"a method: {', '.join(recipe_names())}, or a YAML file of settings"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_class_arguments(Job, None, sub_configs=False)


def _profile(config: Namespace) -> None:
    job = _of(Job, config)
    for note in _notes_on_space(config, job):
        print(f"dnas: {note}", file=sys.stderr)
    profile = profile_job(job)
    print(profile.to_json() if config.json else profile_text(profile))


# compare, spaces


@dataclass(frozen=True)
class CompareOptions:
    """What is compared by what.

    Args:
        run: folder for searches, rows and tables; the same command goes on with what is missing in it.
        seeds: number of searches of each recipe, with the seeds 0, 1 ...
        table: file of a benchmark's table, which says how good architectures are; without one those that are found,
            and random ones, are retrained.
        select: column of the table that selects among runs; valid200_c10 where nothing is said.
        report: column of the table that is reported; test200_c10 where nothing is said.
        baseline_recipe: name of the recipe that the others are tested against; the first where nothing is said.
        num_random: number of random architectures that are retrained where there is no table; 8 where nothing is said.
        agreement: with a table, number of random architectures over which each supernet's ranking is compared with it
            at the end of its search; 50 of them take about as long as five epochs. The table then has a column tau.
    """

    run: Path
    seeds: int = 3
    table: Path | None = None
    select: str | None = None
    report: str | None = None
    baseline_recipe: str | None = None
    num_random: int | None = None
    agreement: int | None = None

    def __post_init__(self) -> None:
        if self.agreement is not None and self.table is None:
            raise UserError("--agreement has no effect without --table; add that, or leave it out.")
        if self.num_random is not None and self.table is not None:
            raise UserError("--num_random has no effect with --table, which knows all architectures; leave it out.")


def _fill_compare(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.usage = "dnas compare --recipes RECIPE [RECIPE ...] --run FOLDER [options]"
    parser.add_argument(
        "--recipes",
        type=str,
        nargs="+",
        required=True,
        help=f"one or more of {', '.join(recipe_names())}, or YAML files",
    )
    parser.add_argument(
        "--recipe", action=ActionConfigFile, help="the first of --recipes, put here by the command itself"
    )
    parser.add_class_arguments(CompareOptions, None, sub_configs=False)
    parser.add_class_arguments(Job, None, sub_configs=False)


def _compare(config: Namespace) -> None:
    options = _of(CompareOptions, config)
    own = list(config.written[3:])  # after compare --recipe FIRST
    table = None if options.table is None else load_table(options.table)
    with RichDisplay() as display:
        jobs = _jobs(config.recipes, own, display)
        grid = Grid(
            jobs,
            seeds=options.seeds,
            out=options.run,
            baseline=options.baseline_recipe or next(iter(jobs)),
            table=table,
            columns=columns_of(table, options.select, options.report),
            num_random=options.num_random or 8,
            agreement=options.agreement or 0,
        )
        try:
            rows = compare(grid, display)
        except (Interrupted, KeyboardInterrupt) as stopped:
            what = str(stopped) or "Stopped; what was not saved yet will be done again."
            raise Interrupted(f"{what} To go on:\n  {shlex.join(['dnas', 'compare', *own])}") from stopped
        display.say(f"Everything is in {grid.out}: table.md, table.csv, trajectory.csv, rows, searches.")
    failed = [f"{row.recipe}, seed {row.seed}" for row in rows if row.failure]
    if failed:
        print(f"dnas: without a result: {'; '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def _jobs(recipes: Sequence[str], own: Sequence[str], display: Display) -> dict[str, Job]:
    """The settings of each recipe, by its name, with those from the command line over them."""
    jobs: dict[str, Job] = {}
    for recipe in recipes:
        path, name = recipe_path(recipe), Path(recipe).stem
        if name in jobs:
            raise UserError(f"Two recipes are called {name!r}; give each once, or rename a file.")
        try:
            config = parse(with_recipe_paths(["compare", "--recipe", recipe, *own]))
        except ValueError as error:
            raise UserError(f"Recipe {name}: {error}") from error
        assert config is not None
        jobs[name] = _of(Job, config)
        note = what_its_space_lacks(path, jobs[name].space)
        if note:
            display.say(note)
    return jobs


def _fill_spaces(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument(
        "--num", type=int, default=100, help="number of random architectures whose parameters are counted"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _spaces(config: Namespace) -> None:
    facts = [facts_of(example, config.num) for example in EXAMPLES]
    print(json.dumps([one.to_data() for one in facts], indent=2) if config.json else spaces_text(facts))


# search


@dataclass(frozen=True)
class SearchOptions:
    """Where a search goes.

    Args:
        run: folder for everything that the search leaves; runs/DATA-DATE-TIME where nothing is said.
        resume: folder of a search to go on with; all settings come from it.
        baseline: 'random' then retrains the found architecture and random ones, and compares them.
        num_random: number of random architectures for the baseline; 8 where nothing is said.
        table: file of a benchmark's table, in which the architecture that is found is looked up (see `dnas table`).
        agreement: with a table, number of random architectures on which the supernet's ranking is compared with it,
            after the last epoch; 50 of them take about as long as five epochs.
        agreement_every: epochs between two such comparisons, besides the one after the last epoch.
    """

    run: Path | None = None
    resume: Path | None = None
    baseline: Literal["none", "random"] = "none"
    num_random: int | None = None
    table: Path | None = None
    agreement: int | None = None
    agreement_every: int | None = None

    def __post_init__(self) -> None:
        if self.agreement is not None and self.table is None:
            raise UserError("--agreement has no effect without --table; add that, or leave it out.")
        if self.agreement_every is not None and self.agreement is None:
            raise UserError("--agreement_every has no effect without --agreement; add that, or leave it out.")
        if self.num_random is not None and self.baseline == "none":
            raise UserError("--num_random has no effect without --baseline random; add that, or leave it out.")
        if self.num_random is not None and self.num_random < 1:
            raise UserError(f"num_random must be at least 1; got {self.num_random}.")

    @property
    def baseline_words(self) -> tuple[str, ...]:
        """The options that ask for the baseline again."""
        return () if self.baseline == "none" else ("--baseline", "random", "--num_random", str(self.num_random or 8))


def _fill_search(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    _check_resume(arguments[1:], {"--baseline", "--num_random", "--table", "--agreement", "--agreement_every"})
    parser.add_argument(
        "--recipe", action=ActionConfigFile, help=f"a method: {', '.join(recipe_names())}, or a YAML file of settings"
    )
    _add_trust(parser)
    parser.add_class_arguments(SearchOptions, None, sub_configs=False)
    parser.add_class_arguments(Job, None, sub_configs=False)


def _check_resume(arguments: Sequence[str], fine: set[str]) -> None:
    """See that beside --resume only `fine` options are given, which have an effect, nor --trust without it."""
    options = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    if "--resume" not in options and "--trust" in options:
        raise UserError(
            "--trust has no effect on a new search: parts that you name yourself are trusted. Leave it out."
        )
    idle = options - fine - {"--resume", "--trust", "--help"}
    if "--resume" in options and idle:
        raise UserError(
            f"{', '.join(sorted(idle))} would have no effect: with --resume all settings come from the run. "
            "Leave it out, or start a new run."
        )


def _search(config: Namespace) -> None:
    options = _of(SearchOptions, config)
    with RichDisplay() as display:
        if options.resume is not None:
            if config.recipe:
                raise UserError("A recipe cannot set 'resume'; give --resume RUN alone on the command line.")
            run = Run.open(options.resume)
            job = job_of(run, trust=config.trust)
        else:
            job = _of(Job, config)
            for note in _notes_on_space(config, job):
                display.say(note)
            run = Run(options.run or new_run_folder(job.data))
        if options.baseline == "random":
            check_baseline(job)
        table = _table_for(options.table, job.space.name)
        watching = _agreement(table, options)
        if options.resume is None:
            job = plan_search(run, job, display)
            begin(run, job)
        with _can_go_on(job, "search", "--resume", run.path, *options.baseline_words):
            data = read_data(run, job, display)
            found = search_command(run, job, data, display, watching)
            if table is not None:
                display.say(_kept_standing(run, table, found.architecture))
            if watching:
                display.say(_agreement_text(found.metrics, watching[0].num))
            if options.baseline == "random":
                # Parts that were named on the command line just now are trusted in the run's folder too.
                job = _retraining(run, job, trust=config.trust or options.resume is None)
                if not run.child(RETRAIN).config_path.exists():
                    job = plan_retrain(run, job, data, time=job.time, threads=None, display=display)
                retrain_command(run, job, data, display)
                display.say(baseline_command(run, job, data, options.num_random or 8, display))
        display.say(f"Everything is in {run.path}.")
        _say_next(display, run, job, *(("retrain",) if options.baseline == "none" else ("evaluate", "export")))


def _kept_standing(run: Run, table: Table, architecture: Architecture) -> str:
    """Where what was found stands, which is kept in the run; or that it stands nowhere."""
    try:
        run.save_json("standing", standing_data(table, architecture))
    except ValueError as error:  # a recipe that drops edges, by a threshold for instance
        return f"What was found is not in the table: {error}"
    return standing(table, architecture)


def _agreement(table: Table | None, options: SearchOptions) -> list[RankAgreement]:
    """What compares the supernet's ranking with a table, where that is asked for."""
    if table is None or options.agreement is None:
        return []
    column = "valid200_c10" if "valid200_c10" in table.columns else next(iter(table.columns))
    return [RankAgreement(table, column, options.agreement, every=options.agreement_every or 0)]


def _agreement_text(metrics: Sequence[dict[str, float]], num: int) -> str:
    """What the comparisons of a search found."""
    found = [f"{row['kendall_tau']:.3f} after epoch {row['epoch']}" for row in metrics if "kendall_tau" in row]
    if not found:
        return (
            f"No Kendall's tau with the table: all of {num} random architectures have the same accuracy in the "
            "supernet, or the search ended before it was measured."
        )
    return f"Kendall's tau with the table over {num} random architectures: {', '.join(found)}"


def _table_for(path: Path | None, space: str) -> Table | None:
    """The table of a file, for architectures of this space.

    Raises:
        UserError: it is damaged, or of another space.
    """
    if path is None:
        return None
    table = load_table(path)
    if table.space != space:
        raise UserError(f"{path} is a table of the space {table.space!r}, but {space!r} is searched: leave it out.")
    return table


def _say_next(display: Display, run: Run, job: Job, *names: str) -> None:
    # Export reads no settings, so it needs no --trust.
    lines = [
        f"dnas export {shlex.quote(str(run.path))}" if n == "export" else command_line(job, n, run.path) for n in names
    ]
    display.say(f"Next: {'; '.join(lines)}")


# retrain, baseline, evaluate


@dataclass(frozen=True)
class RetrainOptions:
    """What retraining may use.

    Args:
        time: how long retraining may take, such as 90s, 30min or 2h; channels, cells and epochs are lowered to fit.
        threads: number of CPU threads that PyTorch works with; the fewest that are as fast as all where nothing is
            said.
    """

    time: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads must be at least 1; got {self.threads}.")


def _fill_retrain(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a finished search")
    _add_trust(parser)
    parser.add_class_arguments(RetrainOptions, None, sub_configs=False)
    parser.add_class_arguments(RetrainSettings, None, sub_configs=False)
    run = Run(first_positional(arguments[1:]))
    if run.config_path.exists():
        # What the run's recipe says, or what a retraining that has begun goes on with.
        trust = "--trust" in arguments
        parser.set_defaults(to_plain(_retraining(run, job_of(run, trust=trust), trust=trust).retrain))


def first_positional(arguments: Sequence[str]) -> str:
    """The first argument that is neither an option nor an option's value; empty where there is none."""
    is_value = False
    for argument in arguments:
        if not argument.startswith("-") and not is_value:
            return argument
        is_value = argument.startswith("--") and "=" not in argument and argument not in FLAGS
    return ""


def _retraining(run: Run, job: Job, *, trust: bool) -> Job:
    """The job with the settings of its retraining, where that has begun; else as it is."""
    child = run.child(RETRAIN)
    return job_of(child, trust=trust) if child.config_path.exists() else job


def _retrain(config: Namespace) -> None:
    run = Run.open(config.run)
    job = job_of(run, trust=config.trust)
    settings, options = _of(RetrainSettings, config), _of(RetrainOptions, config)
    run.load_architecture()  # before anything that takes long
    with RichDisplay() as display:
        data = read_data(run, job, display)
        if run.child(RETRAIN).config_path.exists():
            job = _retraining(run, job, trust=config.trust)
            _check_same(run.child(RETRAIN), job.retrain, settings, options)
            job = replace(job, retrain=settings)
        else:
            # What was planned within a time keeps it, unless sizes are asked for here.
            time = options.time or (job.time if settings == job.retrain else None)
            job = replace(job, retrain=settings)
            job = plan_retrain(run, job, data, time=time, threads=options.threads, display=display)
        with _can_go_on(job, "retrain", run.path):
            retrain_command(run, job, data, display)
        _say_next(display, run, job, "evaluate", "export")


def _check_same(child: Run, begun: RetrainSettings, asked: RetrainSettings, options: RetrainOptions) -> None:
    """See that a retraining that has begun goes on with its own settings."""
    difference = first_difference(to_plain(begun), asked)
    idle = [f"--{name}" for name, value in vars(options).items() if value is not None]
    if difference or idle:
        what = f"setting {difference}" if difference else f"{idle[0]} has no effect any more"
        raise UserError(
            f"{child.path} has begun with settings of its own: {what}. Go on without other settings, or move that "
            "folder away to retrain anew."
        )


def _fill_baseline(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument("--num", type=int, default=8, help="number of random architectures to train like the found one")
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="ARCHITECTURE",
        help="others to train alike: names of published ones such as DARTS_V2, runs, or files that dnas describe reads",
    )
    _add_trust(parser)


def _baseline(config: Namespace) -> None:
    run, job = _retrained(config)
    check_baseline(job, config.num)
    beside = _named_architectures(config.beside, job.space.name)
    words = ("baseline", run.path, "--num", config.num, *(("--beside", *config.beside) if config.beside else ()))
    with RichDisplay() as display, _can_go_on(job, *words):
        display.say(baseline_command(run, job, read_data(run, job, display), config.num, display, beside=beside))


def _named_architectures(given: Sequence[str], space: str) -> dict[str, Architecture]:
    """Architectures by the last part of what names them, which names their folder too."""
    named = {Path(text).stem: read_architecture(text, space) for text in given}
    if len(named) < len(given):
        raise UserError(f"--beside {' '.join(given)}: two have the same name; rename a file or folder.")
    for name in named:
        if re.fullmatch(r"\w[\w.+-]*", name) is None or name.isdigit() or name in ("comparison", "results"):
            raise UserError(
                f"--beside: {name!r} cannot name a folder of the baseline; give the name of a published architecture, "
                "a run, or a file whose name has letters."
            )
    return named


def _retrained(config: Namespace) -> tuple[Run, Job]:
    """A run that has been retrained, and its job with the settings of that."""
    run = Run.open(config.run)
    child = run.child(RETRAIN)
    if not child.config_path.exists():
        raise FileNotFoundError(f"{run.path} has not been retrained: `dnas retrain {run.path}` does it.")
    return run, job_of(child, trust=config.trust)


def _fill_evaluate(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    _add_trust(parser)


def _evaluate(config: Namespace) -> None:
    run, job = _retrained(config)
    with RichDisplay() as display:
        display.say(evaluate_command(run, job, display))


# export, predict, describe


def _fill_export(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument("--formats", type=Format, nargs="+", default=list(FORMATS), help="what to write")
    parser.add_argument("--output", type=Path | None, default=None, help="folder for the files; RUN/export if not said")


def _export(config: Namespace) -> None:
    for file in export(config.run, formats=tuple(config.formats), output=config.output):
        checked = "" if file.deviation is None else f", differs from PyTorch by {file.deviation:.1e} at most"
        print(f"{file.format}: {file.path} ({file.num_bytes / 1e6:.2f} MB{checked})")


def _fill_predict(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained, or an exported .onnx file")
    parser.add_argument("images", type=Path, nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=3, help="number of classes to print for each image")


def _predict(config: Namespace) -> None:
    work = predict_onnx if config.run.suffix == ".onnx" else predict
    for prediction in work(config.run, config.images, top=config.top):
        classes = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
        print(f"{prediction.path}: {classes}")


@dataclass(frozen=True)
class DescribeOptions:
    """Which network to describe; of a run that has been retrained it is that network where nothing else is said.

    Args:
        space: of a genotype text: darts or nasbench201; other files say it themselves.
        channels: number of channels in the first cells.
        cells: number of cells.
        num_classes: length of the output.
        input_size: height and width of the images in pixels.
        in_channels: number of channels of the images: 3 of colour, 1 of grey ones.
        stem: first layers: 'cifar' keeps the resolution, 'imagenet' divides it by 8.
        hidden: of a recurrent cell: units of the hidden state and of the embedding.
        vocabulary: of a recurrent cell: number of different tokens.
    """

    space: str | None = None
    channels: int = 36
    cells: int = 20
    num_classes: int = 10
    input_size: int = 32
    in_channels: int = 3
    stem: Stem = "cifar"
    hidden: int = 850
    vocabulary: int = 10_000


# Options of `dnas describe` that only networks for images have, and only recurrent cells.
_OF_IMAGES = {
    *("--channels", "--cells", "--num_classes", "--input_size", "--in_channels", "--stem", "--auxiliary"),
    *("--supernet", "--table"),
}
_OF_CELLS = {"--hidden", "--vocabulary"}


def _fill_describe(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("architecture", type=str, help="a run folder, an architecture.json, or a genotype text or file")
    parser.add_class_arguments(DescribeOptions, None, sub_configs=False)
    text = first_positional(arguments[1:])  # os.path.isdir: the text of a genotype is too long for Path.is_dir
    if "--supernet" not in arguments and os.path.isdir(text) and find_network(Path(text)) is not None:
        parser.set_defaults(_sizes_of(load_spec(text)))
    if os.path.isdir(text):
        parser.set_defaults(trained_sizes(Path(text)))
    parser.add_argument("--auxiliary", action="store_true", help="with the auxiliary head of training")
    parser.add_argument("--supernet", action="store_true", help="describe the supernet that is searched instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--table", type=Path, help="file of a benchmark's table, in which it is looked up")


def _sizes_of(spec: NetworkSpec) -> dict[str, Any]:
    """The options that describe a network; none for one that was derived from a user's own module."""
    if not isinstance(spec.builder, SpaceBuilder):
        return {}
    names = ("channels", "cells", "num_classes", "in_channels", "stem")
    return {**{name: getattr(spec.builder, name) for name in names}, "input_size": spec.interface.resize.size}


def _describe(config: Namespace) -> None:
    options = _of(DescribeOptions, config)
    architecture = read_architecture(config.architecture, options.space)
    recurrent = architecture.space == RecurrentSpace.name
    idle = {argument.partition("=")[0] for argument in config.written} & (_OF_IMAGES if recurrent else _OF_CELLS)
    if idle:
        raise UserError(
            f"{', '.join(sorted(idle))} would have no effect: {config.architecture} is "
            f"{'a recurrent cell, for text' if recurrent else 'no recurrent cell'}. Leave it out."
        )
    if recurrent:
        cell = describe_cell(architecture, hidden=options.hidden, vocabulary=options.vocabulary)
        print(cell.to_json() if config.json else cell.to_text())
        return
    table = _table_for(config.table, architecture.space)
    description = describe_architecture(
        architecture,
        channels=options.channels,
        cells=options.cells,
        num_classes=options.num_classes,
        input_size=options.input_size,
        in_channels=options.in_channels,
        stem=options.stem,
        auxiliary=config.auxiliary,
        supernet=config.supernet,
    )
    print(description.to_json() if config.json else description.to_text())
    if table is not None and not config.json:
        print(standing(table, architecture))


# language


@dataclass(frozen=True)
class LanguageOptions:
    """Where a search for a recurrent cell goes.

    Args:
        run: folder for everything that is left; runs/TEXT-DATE-TIME where nothing is said.
        resume: folder of a run to go on with; all settings come from it, but --num and --beside, which may add cells.
    """

    run: Path | None = None
    resume: Path | None = None


# What a recipe or a config.yaml of `dnas language` may set.
_LANGUAGE_HINTS = {**get_type_hints(LanguageJob), **get_type_hints(LanguageSearch), "train": LanguageTraining}


def _fill_language(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    _check_resume(arguments[1:], {"--num", "--beside"})
    parser.usage = "dnas language TEXT [options], or dnas language --resume RUN"
    parser.add_argument("text", type=str, nargs="?", help="a text file, or a folder with train, valid and test files")
    parser.add_argument(
        "--recipe",
        action=ActionConfigFile,
        help=f"sizes and a method: {', '.join(recipe_names(LANGUAGE))}, or a YAML file of settings",
    )
    _add_trust(parser)
    parser.add_class_arguments(LanguageOptions, None, sub_configs=False)
    _add_language_job(parser)


def _add_language_job(parser: ArgumentParser) -> None:
    """All settings of a `LanguageJob` but the text, those of the search at the top."""
    parser.add_class_arguments(LanguageJob, None, sub_configs=False, skip={"text", "beside", "search", "train"})
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="CELL",
        help="others to train alike: names of published ones such as DARTS_RNN_V2, runs, or files that dnas describe "
        "reads",
    )
    parser.add_class_arguments(LanguageSearch, None, sub_configs=False)
    parser.add_class_arguments(LanguageTraining, "train", sub_configs=False)


def _language_job(config: Namespace) -> LanguageJob:
    names = {field.name for field in fields(LanguageJob)} - {"beside", "search", "train"}
    return LanguageJob(
        beside=tuple(config.beside),
        search=_of(LanguageSearch, config),
        train=config.train,
        **{name: config[name] for name in names},
    )


def language_job_of(run: Run, *, trust: bool) -> LanguageJob:
    """The job of an existing run of `dnas language`, from its config.yaml.

    Raises:
        UserError: the file is damaged, or names code outside dnas and is not trusted.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--text", type=str)
    _add_language_job(parser)
    data = _entry_of(run, ENTRY, "language", _LANGUAGE_HINTS, trust=trust)
    if "text" not in data:
        raise UserError(f"{run.config_path} is damaged: it does not say text.")
    return _built(parser, data, str(run.config_path), _language_job)


def _language(config: Namespace) -> None:
    with RichDisplay() as display:
        run, job = _language_run(config)
        corpus = read_text(job)
        beside = _named_architectures(job.beside, job.space.name)
        if config.resume is None:
            job = plan_language(run, job, corpus, display)
            begin_language(run, job, corpus)
        words = ("--num", job.num, *(("--beside", *job.beside) if job.beside else ()))
        with _can_go_on(job, "language", "--resume", run.path, *words):
            display.say(language_command(run, job, corpus, beside, display))
        display.say(f"Everything is in {run.path}.")


def _language_run(config: Namespace) -> tuple[Run, LanguageJob]:
    """The run that is asked for, new or begun, and its job."""
    if config.resume is None:
        if config.text is None:
            raise UserError("`dnas language` needs TEXT, or --resume RUN. See `dnas language --help`.")
        job = _language_job(config)
        return Run(config.run or new_run_folder(job.text)), job
    if config.text is not None:
        raise UserError(f"{config.text} would have no effect: with --resume the text is that of the run. Leave it out.")
    run = Run.open(config.resume)
    job = language_job_of(run, trust=config.trust)
    given = {argument.partition("=")[0] for argument in config.written}
    return run, replace(
        job,
        num=config.num if "--num" in given else job.num,
        beside=tuple(config.beside) if "--beside" in given else job.beside,
    )


def _fill_say(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument(
        "run", type=Path, help="a run of dnas language, or RUN/cells/NAME for another cell than the found"
    )
    parser.add_argument("text", type=str, nargs="?", default="", help="how the text begins")
    parser.add_argument("--num", type=int, default=200, help="number of characters or words to make up")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="below 1 likely ones become more likely, above 1 less"
    )
    parser.add_argument("--seed", type=int, default=0, help="whole number on which the draws depend")


def _say(config: Namespace) -> None:
    language = load_language(config.run)
    print(continued(language, config.text, num=config.num, temperature=config.temperature, seed=config.seed))


# table


def _fill_table(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("source", type=Path, help="a NATS-Bench folder or .pbz2 file, or an .npz file (docs/tables.md)")
    parser.add_argument("target", type=Path, help="the table file to write, such as nasbench201.npz")


def _table(config: Namespace) -> None:
    with RichDisplay() as display:
        display.say(convert(config.source, config.target, display=display))


COMMANDS = {
    "compare": Command("Compare recipes over seeds, with a random baseline.", _fill_compare, _compare),
    "search": Command("Search for an architecture.", _fill_search, _search),
    "retrain": Command("Train the found architecture from new weights.", _fill_retrain, _retrain),
    "evaluate": Command("Measure the retrained network on the test part.", _fill_evaluate, _evaluate),
    "baseline": Command("Compare with random architectures of the same space and budget.", _fill_baseline, _baseline),
    "export": Command(
        "Write the retrained network as ONNX, torch.export program and state dict.", _fill_export, _export
    ),
    "predict": Command("Print the classes of images.", _fill_predict, _predict),
    "language": Command(
        "Search for a recurrent cell on a text, and train it beside others.", _fill_language, _language
    ),
    "say": Command("Go on with a text, by a language model that was trained.", _fill_say, _say),
    "profile": Command("Measure time, memory and FLOPs of a search on this machine.", _fill_profile, _profile),
    "spaces": Command("List the search spaces, with sizes and ranges of parameters.", _fill_spaces, _spaces),
    "table": Command("Make a table file of a benchmark's results, for --table.", _fill_table, _table),
    "describe": Command("Print parameters and FLOPs of an architecture.", _fill_describe, _describe),
}
