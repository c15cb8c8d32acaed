"""The command `dnas`: settings from type hints, one clear line for every mistake; the only file with jsonargparse."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Literal, NoReturn

import torch

from dnas.commands import (
    RETRAIN,
    baseline_command,
    begin,
    evaluate_command,
    new_run_folder,
    plan_search,
    retrain_command,
    retrain_plan,
    search_command,
)
from dnas.describe import describe_architecture
from dnas.display import RichDisplay
from dnas.export import FORMATS, Format, export
from dnas.formats import read_architecture
from dnas.interrupt import Interrupted
from dnas.job import Job
from dnas.plain_data import check_only_own_parts, to_plain
from dnas.predict import predict, predict_onnx
from dnas.retrain import RetrainSettings
from dnas.run import Run
from dnas.space.base import Stem
from dnas.version import __version__

try:
    from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace
except ImportError as error:
    raise SystemExit('The command dnas needs more packages: pip install "dnas[cli]"') from error

RECIPES = Path(__file__).parent / "recipes"
# What a user can put right. Anything else is a mistake of ours and keeps its traceback.
USER_ERRORS = (ValueError, OSError, ImportError, ArithmeticError, ArgumentError)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command and exit: 0 done, 2 a mistake in what was asked, 130 stopped by Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
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
    except USER_ERRORS as error:
        _fail(plainer(str(error)), error)
    except RuntimeError as error:  # torch's out-of-memory errors are RuntimeErrors, on the CPU plain ones
        if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
            _fail("Out of memory: lower --batch_size, --image_size, --channels or --cells.", error)
        raise


def _fail(message: str, error: BaseException) -> NoReturn:
    if os.environ.get("DNAS_TRACEBACK"):
        raise error
    print(f"dnas: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def plainer(message: str) -> str:
    """jsonargparse's messages about values, in fewer words."""
    words = " ".join(message.split())
    union = re.match(r'Parser key "([^"]+)": Does not validate .* Given value: (.*)$', words)
    if union:
        kinds = dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", words))
        expected = " or ".join("nothing (null)" if kind == "NoneType" else kind for kind in kinds)
        return f"--{union[1]}: expected {expected}; got {union[2]}."
    part = re.match(r'Parser key "([^"]+)": Expected a dot import path string: (.*)$', words)
    if part:
        return (
            f"--{part[1]}: there is no part {part[2]!r}. `dnas COMMAND --help` lists the known ones beside the "
            "setting; one of your own is named by its import path, package.module.Class."
        )
    return words


def carry_out(arguments: Sequence[str]) -> int:
    """Parse and carry out one command; the exit status comes back."""
    parser, commands = build_parser(arguments)
    with redirect_stderr(StringIO()):  # jsonargparse prints its whole usage there before it raises
        config = parser.parse_args(with_recipe_paths(with_underscores(arguments)))
    name = config.subcommand
    if name is None:
        parser.print_help()
        return 2
    commands[name](parser.instantiate(config)[name])
    return 0


def build_parser(arguments: Sequence[str]) -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    """The parser of all commands, and what carries each of them out.

    Args:
        arguments: what will be parsed: `dnas retrain RUN` takes its defaults from the run's own settings.
    """
    parser = ArgumentParser(
        prog="dnas",
        description="Differentiable neural architecture search: from a folder of images to an exported network. "
        "`dnas COMMAND --help` explains each setting.",
        exit_on_error=False,
        version=__version__,
    )
    subparsers = parser.add_subcommands(required=False, metavar="COMMAND")
    commands: dict[str, Callable[[Namespace], None]] = {}
    for name, (summary, fill, command) in COMMANDS.items():
        subparser = ArgumentParser(description=summary, exit_on_error=False)
        fill(subparser, arguments)
        subparsers.add_subcommand(name, subparser, help=summary)
        commands[name] = command
    return parser, commands


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """`--num-classes 10` as `--num_classes 10`: both ways of writing an option are understood."""
    result = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        result.append(
            (option.replace("-", "_").replace("__", "--", 1) if argument.startswith("--") else option) + equals + value
        )
    return result


# Recipes


def recipe_names() -> list[str]:
    """Names of the recipes that come with dnas."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def with_recipe_paths(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the name of a recipe replaced by its file.

    Raises:
        ValueError: neither a recipe nor a file.
    """
    result = list(arguments)
    for index, argument in enumerate(result):
        if argument == "--recipe" and index + 1 < len(result):
            result[index + 1] = _recipe_path(result[index + 1])
        elif argument.startswith("--recipe="):
            result[index] = f"--recipe={_recipe_path(argument.removeprefix('--recipe='))}"
    return result


def _recipe_path(name: str) -> str:
    if name in recipe_names():
        return str(RECIPES / f"{name}.yaml")
    if not Path(name).is_file():
        raise ValueError(f"There is no recipe {name!r}; there are {', '.join(recipe_names())}, or give a YAML file.")
    return name


# The settings of a run


def job_parser() -> ArgumentParser:
    """Reads a job from plain data."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Job, None, sub_configs=False)
    return parser


def job_of(run: Run, *, trust: bool) -> Job:
    """The job of an existing run, from its config.yaml.

    Raises:
        ValueError: the file is damaged, or names code outside dnas and is not trusted.
    """
    data = run.read_config().get("job")
    if not isinstance(data, Mapping):
        raise ValueError(f"{run.config_path} has no entry 'job': it is not the config.yaml of a run.")
    if not trust:
        for part in ("space", "search", "retrain"):
            check_only_own_parts(data.get(part), str(run.config_path), part)
    parser = job_parser()
    try:
        with redirect_stderr(StringIO()):
            return _job(parser.instantiate(parser.parse_object(dict(data))))
    except ArgumentError as error:
        raise ValueError(f"{run.config_path} is not valid: {error}") from error


def _job(config: Namespace) -> Job:
    return Job(**{field.name: config[field.name] for field in fields(Job)})


def _add_trust(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trust", action="store_true", help="follow import paths of parts outside dnas in the run's config.yaml"
    )


# search


@dataclass(frozen=True)
class SearchOptions:
    """Where a search goes.

    Args:
        run: folder for everything that the search leaves; runs/DATA-DATE-TIME where nothing is said.
        resume: folder of a search to go on with; all settings come from it.
        baseline: 'random' then retrains the found architecture and random ones, and compares them.
        num_random: random architectures for the baseline.
    """

    run: Path | None = None
    resume: Path | None = None
    baseline: Literal["none", "random"] = "none"
    num_random: int = 8


def _fill_search(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    if arguments[:1] == ["search"]:
        _check_resume(arguments[1:])
    parser.add_argument(
        "--recipe", action=ActionConfigFile, help=f"a method: {', '.join(recipe_names())}, or a YAML file of settings"
    )
    _add_trust(parser)
    parser.add_class_arguments(SearchOptions, None, sub_configs=False)
    parser.add_class_arguments(Job, None, sub_configs=False)


def _check_resume(arguments: Sequence[str]) -> None:
    """See that nothing that would have no effect is given beside --resume."""
    allowed = {"--resume", "--trust", "--baseline", "--num_random", "--help"}
    options = {argument.partition("=")[0] for argument in with_underscores(arguments) if argument.startswith("--")}
    if "--resume" in options and options - allowed:
        raise ValueError(
            f"{', '.join(sorted(options - allowed))} would have no effect: with --resume all settings come from the "
            "run. Leave it out, or start a new run."
        )


def _search(config: Namespace) -> None:
    options = SearchOptions(**{field.name: config[field.name] for field in fields(SearchOptions)})
    with RichDisplay() as display:
        if options.resume is not None:
            run = Run.open(options.resume)
            job = job_of(run, trust=config.trust)
        else:
            job = _job(config)
            run = Run(options.run or new_run_folder(job))
            job = plan_search(run, job, display).job
            begin(run, job)
        with_baseline = "" if options.baseline == "none" else f" --baseline random --num_random {options.num_random}"
        with _can_go_on(f"dnas search --resume {run.path}{with_baseline}"):
            search_command(run, job, display)
            if options.baseline == "random":
                if not run.child(RETRAIN).config_path.exists():
                    settings = retrain_plan(run, job, job.retrain, job.time, display)
                    retrain_command(run, job, settings, display)
                job = _retrained_job(run, trust=config.trust)
                retrain_command(run, job, job.retrain, display)
                display.say(baseline_command(run, job, options.num_random, display))
        display.say(f"Everything is in {run.path}. Next: dnas retrain {run.path}")


@contextmanager
def _can_go_on(command: str) -> Iterator[None]:
    """Tells who presses Ctrl-C within the block which command goes on."""
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(f"{stopped} To go on:\n  {command}") from stopped


# retrain, baseline, evaluate


@dataclass(frozen=True)
class RetrainOptions:
    """How long to retrain.

    Args:
        time: how long retraining may take, such as 90s, 30min or 2h; channels, cells and epochs are lowered to fit.
    """

    time: str | None = None


def _fill_retrain(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a finished search")
    _add_trust(parser)
    parser.add_class_arguments(RetrainOptions, None, sub_configs=False)
    parser.add_class_arguments(RetrainSettings, None, sub_configs=False)
    run = Run(_first_path(arguments))
    if arguments[:1] == ["retrain"] and run.config_path.exists():
        # What the run's recipe says, or what a retraining that has begun goes on with.
        begun = run.child(RETRAIN)
        source = begun if begun.config_path.exists() else run
        parser.set_defaults(to_plain(job_of(source, trust="--trust" in arguments).retrain))


def _first_path(arguments: Sequence[str]) -> str:
    return next((argument for argument in arguments[1:] if not argument.startswith("-")), "")


def _retrain(config: Namespace) -> None:
    run = Run.open(config.run)
    job = job_of(run, trust=config.trust)
    settings = RetrainSettings(**{field.name: config[field.name] for field in fields(RetrainSettings)})
    with RichDisplay() as display:
        # What was planned within a time keeps it, unless sizes are asked for here.
        time = config.time or (job.time if settings == job.retrain else None)
        settings = retrain_plan(run, job, settings, time, display)
        with _can_go_on(f"dnas retrain {run.path}"):
            retrain_command(run, job, settings, display)
        display.say(f"Next: dnas evaluate {run.path}; dnas export {run.path}")


def _fill_baseline(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument("--num", type=int, default=8, help="random architectures to train like the found one")
    _add_trust(parser)


def _baseline(config: Namespace) -> None:
    run = Run.open(config.run)
    job = _retrained_job(run, trust=config.trust)
    with RichDisplay() as display, _can_go_on(f"dnas baseline {run.path} --num {config.num}"):
        display.say(baseline_command(run, job, config.num, display))


def _retrained_job(run: Run, *, trust: bool) -> Job:
    """The job with the settings under which its network was retrained."""
    child = run.child(RETRAIN)
    if not child.config_path.exists():
        raise FileNotFoundError(f"{run.path} has not been retrained: `dnas retrain {run.path}` does it.")
    return job_of(child, trust=trust)


def _fill_evaluate(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    _add_trust(parser)


def _evaluate(config: Namespace) -> None:
    run = Run.open(config.run)
    with RichDisplay() as display:
        display.say(evaluate_command(run, _retrained_job(run, trust=config.trust), display))


# export, predict, describe


def _fill_export(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained")
    parser.add_argument("--formats", type=list[Format], default=list(FORMATS), help="what to write")
    parser.add_argument("--output", type=Path | None, default=None, help="folder for the files; RUN/export if not said")


def _export(config: Namespace) -> None:
    for file in export(config.run, formats=tuple(config.formats), output=config.output):
        checked = "" if file.deviation is None else f", differs from PyTorch by {file.deviation:.1e} at most"
        print(f"{file.format}: {file.path} ({file.num_bytes / 1e6:.2f} MB{checked})")


def _fill_predict(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="folder of a search that has been retrained, or an exported .onnx file")
    parser.add_argument("images", type=Path, nargs="+", help="image files")
    parser.add_argument("--top", type=int, default=3, help="classes to print for each image")


def _predict(config: Namespace) -> None:
    work = predict_onnx if config.run.suffix == ".onnx" else predict
    for prediction in work(config.run, config.images, top=config.top):
        classes = "  ".join(f"{name} {probability:.1%}" for name, probability in prediction.classes)
        print(f"{prediction.path}: {classes}")


@dataclass(frozen=True)
class DescribeOptions:
    """Which network to describe.

    Args:
        space: of a genotype text: darts or nasbench201; other files say it themselves.
        channels: of the first cells.
        cells: of the network.
        num_classes: length of the output.
        input_size: height and width of the images in pixels.
        in_channels: channels of the images.
        stem: first layers: 'cifar' keeps the resolution, 'imagenet' divides it by 8.
    """

    space: str | None = None
    channels: int = 36
    cells: int = 20
    num_classes: int = 10
    input_size: int = 32
    in_channels: int = 3
    stem: Stem = "cifar"


def _fill_describe(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    parser.add_argument("architecture", type=str, help="a run folder, an architecture.json, or a genotype text or file")
    parser.add_class_arguments(DescribeOptions, None, sub_configs=False)
    parser.add_argument("--auxiliary", action="store_true", help="with the auxiliary head of training")
    parser.add_argument("--supernet", action="store_true", help="describe the supernet that is searched instead")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _describe(config: Namespace) -> None:
    options = DescribeOptions(**{field.name: config[field.name] for field in fields(DescribeOptions)})
    description = describe_architecture(
        read_architecture(config.architecture, options.space),
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


Fill = Callable[[ArgumentParser, Sequence[str]], None]
COMMANDS: dict[str, tuple[str, Fill, Callable[[Namespace], None]]] = {
    "search": ("Search for an architecture.", _fill_search, _search),
    "retrain": ("Train the found architecture from new weights.", _fill_retrain, _retrain),
    "evaluate": ("Measure the retrained network on the test part.", _fill_evaluate, _evaluate),
    "baseline": ("Compare with random architectures of the same space and budget.", _fill_baseline, _baseline),
    "export": ("Write the retrained network as ONNX, torch.export program and state dict.", _fill_export, _export),
    "predict": ("Print the classes of images.", _fill_predict, _predict),
    "describe": ("Print parameters and FLOPs of an architecture.", _fill_describe, _describe),
}
