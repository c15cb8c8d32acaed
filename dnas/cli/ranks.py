"""A command that torchrun or srun has started several times: all processes work as one, and one of them speaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from dnas.cli.parser import Command
from dnas.distributed.environment import launched, may_restart, num_restarts
from dnas.system.display import Display, RichDisplay, Silent
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted


@contextmanager
def in_all_ranks(command: Command, words: Sequence[str]) -> Iterator[None]:
    """Within the block all processes that were started carry out the command together, if there are several.

    Of errors the first rank that has one tells it; the others end with the same status and say nothing.

    Raises:
        UserError: the command works in one process, or the processes were given other words.
    """
    if launched() is None:
        yield
        return
    from dnas.distributed.equal import check_same
    from dnas.distributed.ranks import ranks
    from dnas.distributed.together import together

    with together():
        try:
            if not command.takes_ranks:
                raise UserError(f"dnas {command.name} works in one process: start it without torchrun or srun.")
            check_same(ranks(), "words", list(words))
            yield
        except Exception as error:
            if ranks().speaks():
                raise
            sys.exit(130 if isinstance(error, Interrupted) else 2)


def shown() -> AbstractContextManager[Display]:
    """Where the first rank shows its progress; the others show nothing."""
    from dnas.distributed.ranks import ranks

    return RichDisplay() if ranks().is_first else nullcontext(Silent())


def folder_to_go_on_with(run: Path | None, resume: Path | None) -> Path | None:
    """The folder of a search that goes on: the one to resume, or after a restart by torchrun that of `--run`.

    Raises:
        UserError: torchrun will start the command again after a lost rank, which could not find its folder.
    """
    if may_restart() and run is None and resume is None:
        raise UserError(
            "torchrun will start this command again if a rank is lost (--max-restarts), and must find its folder: give "
            "--folder FOLDER, which is --run FOLDER in a word that torchrun does not take for its own."
        )
    from dnas.distributed.ranks import ranks

    has_begun = ranks().from_first(lambda: run is not None and (run / "config.yaml").exists())
    return run if num_restarts() and has_begun else resume
