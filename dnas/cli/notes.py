"""Warnings of the library as lines of the command line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from dnas.system.digest import NoDigest


@contextmanager
def one_line_for_files_without_digest() -> Iterator[None]:
    """Within the block the first file that has no digest is told in one line, and the others of its run are not."""
    told = False

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        nonlocal told
        if not issubclass(category, NoDigest):
            usual(message, category, filename, lineno, file, line)
        elif not told:
            told = True
            print(f"Note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.simplefilter("always", NoDigest)
        warnings.showwarning = show
        yield
