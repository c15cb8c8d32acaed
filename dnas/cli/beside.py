"""The options --beside and --opponents: architectures that are trained like the one that was found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from dnas.core.architecture import Architecture
from dnas.finalists.opponents.named import OPPONENTS
from dnas.formats import read_architecture
from dnas.system.errors import UserError


def add_beside(parser: ArgumentParser, kind: str, example: str) -> None:
    """The option.

    Args:
        parser: of a command.
        kind: what its values are called in the help.
        example: name of a published one.
    """
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar=kind,
        help=f"others to train alike: names of published ones such as {example}, runs, or files that dnas describe "
        "reads",
    )


def add_opponents(parser: ArgumentParser, whose: str) -> None:
    """The option --opponents.

    Args:
        parser: of a command.
        whose: whose compute they spend, in words.
    """
    parser.add_argument(
        "--opponents",
        type=str,
        nargs="+",
        default=[],
        metavar="OPPONENT",
        help=f"what spends the compute of {whose} too: {', '.join(OPPONENTS)}, with settings as in "
        "random_halving:epochs=2,rungs=3",
    )


def named_architectures(given: Sequence[str], space: str) -> dict[str, Architecture]:
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


def beside_words(given: Sequence[str]) -> tuple[str, ...]:
    """The option again, for a command that goes on."""
    return ("--beside", *given) if given else ()
