"""`dnas doctor`: versions, devices, threads, memory, and what is missing; it starts without jsonargparse and torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dnas.system.doctor import examine
from dnas.system.errors import UserError


def answer(words: Sequence[str]) -> int:
    """Print what is found; the exit status comes back: 0, or 1 where a package is missing that dnas needs.

    Raises:
        UserError: an option was given, of which there are none.
    """
    if words and words[0] in ("-h", "--help"):
        print("usage: dnas doctor\n\nPrint versions, devices, threads, memory, and what is missing.")
        return 0
    if words:
        raise UserError(f"dnas doctor takes no options; got {words[0]!r}.")
    findings = examine()
    print(findings)
    if findings.missing:
        print(f"dnas: missing {', '.join(findings.missing)}", file=sys.stderr)
    return 1 if findings.missing else 0
