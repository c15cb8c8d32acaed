"""What several commands share: --trust and --resume, and how a command that was stopped is gone on with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TypeVar

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted

_Settings = TypeVar("_Settings")


def part_of(config: Namespace, kind: type[_Settings]) -> _Settings:
    """A dataclass from those entries of a parsed command that have the names of its fields."""
    return kind(**{field.name: config[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def add_trust(parser: ArgumentParser) -> None:
    """The option --trust of commands on a run."""
    parser.add_argument(
        "--trust", action="store_true", help="follow import paths of parts outside dnas in the run's config.yaml"
    )


def check_resume(given: Arguments, fine: set[str], resume: str = "--resume") -> None:
    """See that beside `resume` only `fine` options are given, which have an effect, and --trust not with neither."""
    if not given.names & {"--resume", "--repeat"} and "--trust" in given.names:
        raise UserError(
            "--trust has no effect on a new search: parts that you name yourself are trusted. Leave it out."
        )
    idle = {name for name in given.names if name.startswith("--")} - fine - {resume, "--trust", "--help"}
    if resume in given.names and idle:
        raise UserError(
            f"{', '.join(sorted(idle))} would have no effect: with {resume} all settings come from the run. "
            "Leave it out, or start a new run."
        )


@contextmanager
def goes_on_with(*words: object) -> Iterator[None]:
    """Tells who stops the command within the block which command goes on."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as stopped:
        what = str(stopped) or "Stopped; what was not saved yet will be done again."
        raise Interrupted(f"{what} To go on:\n  {typed(*words)}") from stopped


def typed(*words: object) -> str:
    """What to type in a shell for a command."""
    return shlex.join(["dnas", *map(str, words)])
