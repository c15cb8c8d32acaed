"""The command `dnas`: how it ends, and one line on stderr for each mistake that a user can put right."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from dnas.cli.commands import COMMANDS, PLAIN_COMMANDS
from dnas.cli.overview import without_command
from dnas.system.allocator import keep_freed_memory
from dnas.system.errors import UserError, is_out_of_memory
from dnas.system.interrupt import Interrupted, exit_status, handled
from dnas.system.words import printable

# What a user can put right. Anything else is a mistake of ours, or of a user's own part, and keeps its traceback.
USER_ERRORS = (UserError, OSError)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command and exit: 0 done, 2 a mistake in what was asked, 130, 143 or 129 stopped (`exit_status`)."""
    if arguments is None:  # a process of its own, not a call from another program
        keep_freed_memory()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with handled(_stop):
            sys.exit(carry_out(words))
    except Interrupted as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(exit_status())
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(exit_status())
    except BrokenPipeError:  # whoever reads our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _fail(_out_of_memory(error, words), error)
    except USER_ERRORS as error:
        _fail(str(error), error)


def carry_out(words: Sequence[str]) -> int:
    """Carry out what is asked for; the exit status comes back.

    What names no command is answered at once, without torch and jsonargparse.

    Raises:
        UserError: a mistake in the arguments.
    """
    if words and words[0] in PLAIN_COMMANDS:
        return import_module(f"dnas.cli.{words[0]}").answer(words[1:])
    if not words or words[0] not in COMMANDS:
        return without_command(words, COMMANDS | PLAIN_COMMANDS)
    from dnas.cli.parser import load, parse
    from dnas.cli.ranks import in_all_ranks

    command = load(words[0])
    with in_all_ranks(command, words):
        config, given = parse(command, words[1:], COMMANDS[words[0]])
        from dnas.cli.notes import one_line_for_files_without_digest  # needs torch, which a command's help may not

        with one_line_for_files_without_digest():
            command.run(config, given)
    return 0


def _fail(message: str, error: BaseException) -> NoReturn:
    if os.environ.get("DNAS_TRACEBACK"):
        raise error
    print(f"dnas: {printable(' '.join(message.split())) or type(error).__name__}", file=sys.stderr)
    sys.exit(2)


def _out_of_memory(error: BaseException, words: Sequence[str]) -> str:
    from dnas.cli.parser import load
    from dnas.system.memory import share_that_fits

    said = str(error)
    tried = re.search(r"ried to allocate ([\d.]+ ?\w+)", said)
    what = f" ({tried[1]} more were needed)" if tried else ""
    share = share_that_fits(said)
    fits = f": at most about {share:.0%} of the batch would fit, as memory grows with it" if share > 0 else ""
    return f"Out of memory{what}. Lower {load(words[0]).sizes_to_lower}{fits}."


def _stop() -> NoReturn:
    raise KeyboardInterrupt
