"""What `dnas` itself is asked for: the list of commands, its version, or a word that is no command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from dnas.system.errors import UserError
from dnas.system.words import did_you_mean
from dnas.version import __version__


def without_command(words: Sequence[str], commands: Mapping[str, str]) -> int:
    """Answer what names no command; the exit status comes back: 0, or 2 where nothing was asked for.

    Args:
        words: of the command line after `dnas`.
        commands: name and summary of each command.

    Raises:
        UserError: an option or a command that there is not.
    """
    word = words[0] if words else ""
    if word == "--version":
        print(f"dnas {__version__}")
        return 0
    if word in ("", "-h", "--help"):
        print(_help(commands), end="")
        return 0 if word else 2
    if word.startswith("-"):
        raise UserError(f"there is no option {word.partition('=')[0]}. See `dnas --help`.")
    raise UserError(f"there is no command {word!r}{did_you_mean(word, commands)}; there are {', '.join(commands)}.")


def _help(commands: Mapping[str, str]) -> str:
    parser = argparse.ArgumentParser(
        prog="dnas",
        usage="dnas COMMAND ...",
        description="Differentiable neural architecture search: from a folder of images to an exported network. "
        "`dnas COMMAND --help` explains each setting. With DNAS_TRACEBACK=1 a mistake shows where it was found.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    listed = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in commands.items():
        listed.add_parser(name, help=summary)
    return parser.format_help()
