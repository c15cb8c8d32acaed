"""One process writes into a folder: the others work in a copy of their own, which nobody keeps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from dnas.distributed.ranks import ranks
from dnas.system.reading import read_bytes

# The folders within which this process works already.
_OPEN: ContextVar[tuple[Path, ...]] = ContextVar("_OPEN", default=())
# What only people look at, and locks.
_NOT_COPIED = ("tensorboard", ".lock")


@contextmanager
def folder_of_rank(folder: Path) -> Iterator[Path]:
    """The folder itself on the first rank; on the others a temporary one with the same files, which need not be on a
    disk that they share.

    All that is written goes into it on every rank, so that the code is the same on all. Folders inside one that is open
    are where they are.
    """
    current = ranks()
    inside = any(above in (folder, *folder.parents) for above in _OPEN.get())
    if current.size == 1 or inside:
        yield folder
        return
    files = current.from_first(lambda: _files_of(folder))
    if current.is_first:
        with _open(folder):
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dnas-rank-") as temporary:
        own = Path(temporary) / "run"
        for name, content in files.items():
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_bytes(content)
        with _open(own):
            yield own


@contextmanager
def _open(folder: Path) -> Iterator[None]:
    token = _OPEN.set((*_OPEN.get(), folder))
    try:
        yield
    finally:
        _OPEN.reset(token)


def _files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): read_bytes(path, most=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not set(path.relative_to(folder).parts) & set(_NOT_COPIED)
    }
