"""`dnas table`: a file of a benchmark's results; and the option --table of other commands, which reads it."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from dnas.cli.arguments import Arguments
from dnas.cli.parser import Command
from dnas.system.display import RichDisplay
from dnas.system.errors import UserError
from dnas.table import Table, convert, load_table


def _fill(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a NATS-Bench folder or .pbz2 file, or an .npz file (docs/tables.md)")
    parser.add_argument("target", type=Path, help="the table file to write, such as nasbench201.npz")


def _run(config: Namespace, given: Arguments) -> None:
    with RichDisplay() as display:
        display.say(convert(config.source, config.target, display=display))


def table_for(path: Path | None, space: str) -> Table | None:
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


COMMAND = Command("table", _fill, _run)
