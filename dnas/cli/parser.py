"""From the words of the command line to the settings of a command, by jsonargparse."""

from __future__ import annotations

import re
from argparse import Action
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from typing import Any

from dnas.cli.arguments import Arguments, read_arguments
from dnas.cli.messages import of_failed_import, plainer
from dnas.system.errors import MissingPackage, UserError

try:
    from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace
except ImportError as error:
    raise MissingPackage('The command dnas needs more packages: pip install ".[cli]" in a clone of dnas') from error


def as_given(given: Arguments) -> Arguments:
    """What a command without recipes gives the parser to read."""
    return given


def no_defaults(given: Arguments) -> dict[str, Any]:
    """The defaults that depend on what was given, of a command that has none."""
    return {}


@dataclass(frozen=True)
class Command:
    """One command of `dnas`.

    Args:
        name: as it is written after `dnas`.
        fill: adds its options to a parser.
        run: carries it out, with its settings and what was given.
        understood: what the parser is to read for what was given: recipes as files, for instance. It raises a
            `UserError` for options that would have no effect.
        defaults: those that depend on what was given: of `dnas retrain RUN` they come from the run.
        other_names: as other commands call its options -> its own names, see `Arguments.renamed`.
        sizes_to_lower: the options that take less memory when they are lowered.
        takes_ranks: whether several processes can carry it out together.
    """

    name: str
    fill: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Arguments], None]
    understood: Callable[[Arguments], Arguments] = as_given
    defaults: Callable[[Arguments], Mapping[str, Any]] = no_defaults
    other_names: Mapping[str, str] = field(default_factory=dict)
    sizes_to_lower: str = "--batch_size, --channels or --cells"
    takes_ranks: bool = False


def load(name: str) -> Command:
    """The command of a name, whose file is imported now."""
    return import_module(f"dnas.cli.{name}").COMMAND


class _Help(DefaultHelpFormatter):
    """Help that names the public parts alone: jsonargparse lists every class that it finds."""

    def _expand_help(self, action: Action) -> str:
        return re.sub(r"(?<=known subclasses: )[\w., ]+", _public, super()._expand_help(action))


def _public(paths: re.Match[str]) -> str:
    """Those of a list of classes that have a short name, dnas.Name or dnas.room.Name: the others are internal."""
    return ", ".join(path for path in paths[0].split(", ") if not path.startswith("dnas.") or path.count(".") <= 2)


def build_parser(command: Command, summary: str = "") -> ArgumentParser:
    """The parser of a command, with all its options.

    Args:
        command: what will be parsed.
        summary: one line for its help.
    """
    parser = ArgumentParser(
        prog=f"dnas {command.name}",
        description=summary,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    command.fill(parser)
    return parser


def parse(command: Command, words: Sequence[str], summary: str = "") -> tuple[Namespace, Arguments]:
    """The settings that the words after a command's name ask for, parts built, and what was given.

    Raises:
        UserError: a mistake in the arguments.
    """
    parser = build_parser(command, summary)
    given = read_arguments(words, flags=_options(parser, 0), lists=_options(parser, "+")).renamed(command.other_names)
    return settings_of(command, parser, command.understood(given)), given


def settings_of(command: Command, parser: ArgumentParser, given: Arguments) -> Namespace:
    """The settings that the parser reads, parts built.

    Raises:
        UserError: a mistake in the arguments.
    """
    parser.set_defaults(dict(command.defaults(given)))
    try:
        with redirect_stderr(StringIO()):  # jsonargparse prints its whole usage there before it raises
            settings = parser.instantiate(parser.parse_args(given.words))
    except ArgumentError as error:
        raise UserError(plainer(str(error), command.name, _names_of(parser))) from error
    except Exception as error:
        if not (message := of_failed_import(error)):
            raise
        raise UserError(message) from error
    _check_rates(settings)
    return settings


def _check_rates(settings: Namespace) -> None:
    """See that AdamW has not been left the learning rate of SGD: jsonargparse keeps what two parts name alike."""
    from dnas.searching.settings import SearchSettings
    from dnas.searching.weight_optimizer import WeightAdamW
    from dnas.training.settings import RetrainSettings

    rates = [vars(kind().weights)["lr"] for kind in (SearchSettings, RetrainSettings)]
    found = {"weights": settings.get("weights")}
    for name in ("search", "retrain"):
        if isinstance(settings.get(name), SearchSettings | RetrainSettings):
            found[f"{name}.weights"] = settings[name].weights
    for name, weights in found.items():
        if isinstance(weights, WeightAdamW) and weights.lr in rates:
            raise UserError(
                f"--{name}: {weights.lr} is the learning rate of dnas.WeightSGD, and too high for dnas.WeightAdamW: "
                f"give --{name}.lr.start, such as 0.001, and --{name}.lr.end."
            )


def _options(parser: ArgumentParser, num_values: int | str) -> set[str]:
    """The options that take so many values: 0, or '+' for one or more."""
    options = {name for action in parser._actions if action.nargs == num_values for name in action.option_strings}
    # jsonargparse takes no value for it but by `--print_config=flags`.
    return options | {"--print_config"} if num_values == 0 else options


def _names_of(parser: ArgumentParser) -> list[str]:
    """The names of all settings as they are written on the command line.

    That is without `class_path` and `init_args`: a part is given as `--search.relaxation`, its setting as
    `--search.weights.lr.start`.
    """
    keys = parser.get_defaults(skip_validation=True).keys()
    return [re.sub(r"\.class_path$|\.init_args(?=\.)", "", key) for key in keys]
