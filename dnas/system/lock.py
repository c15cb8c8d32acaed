"""One process at a time writes into a folder."""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dnas.system.atomic import UNFINISHED, cannot_write
from dnas.system.errors import FolderInUse, UserError
from dnas.system.reading import parse_json, shortened
from dnas.system.words import number_of

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked there
    fcntl = None

NAME = ".lock"  # of the file, in the folder
# Nothing that a link leads to is written, and nothing waits for the other end of a pipe.
_OPENED = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


_PAUSE = 0.05  # seconds between two looks at a folder that another process has locked


@dataclass
class _Held:
    """A lock of this process: its file, the thread that works in the folder, and how often it has asked."""

    descriptor: int
    thread: int
    process: int
    depth: int = 1


_held: dict[str, _Held] = {}  # by the folder's real path


@contextmanager
def locked(folder: Path, say: Callable[[str], None] = lambda text: None, *, wait: float = 0.0) -> Iterator[None]:
    """Within the block no other process may lock the folder; the same thread may again.

    The system itself ends the lock of a process that was killed, also where another process has its number now. The
    file holds host, process, its start and that of the machine, for people. Unfinished files that a killed process
    left are removed. A folder that is made for the block and stays empty is removed after it.

    Args:
        folder: the folder; it is made if there is none.
        say: is told that a killed process has left something.
        wait: seconds for which another process may go on before this one gives up.

    Raises:
        FolderInUse: another process works in it.
        UserError: another thread does, or it was removed within the block.
        CannotWrite: the folder cannot be made or written to.
    """
    key = os.path.realpath(folder)
    mine = _held.get(key)
    if mine is not None and mine.process == os.getpid():
        if mine.thread != threading.get_ident():
            raise UserError(
                f"{folder} is in use by another thread of this process. Wait for it, or use another folder."
            )
        mine.depth += 1
        try:
            yield
        finally:
            mine.depth -= 1
        return
    new = [above for above in (folder.absolute(), *folder.absolute().parents) if not above.exists()]
    descriptor, left_by = _taken(folder, time.monotonic() + wait)
    _held[key] = _Held(descriptor, threading.get_ident(), os.getpid())
    try:
        removed = _remove_unfinished(folder)
        if left_by or removed:
            say(_what_was_left(folder, left_by, removed))
        yield
        check_still_there(folder)
    finally:
        del _held[key]
        if _is_at(folder, descriptor):
            (folder / NAME).unlink()
        os.close(descriptor)
        with suppress(OSError):  # the first one that holds something ends it
            for path in new:
                path.rmdir()


def check_still_there(folder: Path) -> None:
    """Check that a folder that this process has locked, if it has, was not removed meanwhile.

    Raises:
        UserError: it was, or another folder is in its place.
    """
    mine = _held.get(os.path.realpath(folder))
    if mine is not None and mine.process == os.getpid() and not _is_at(folder, mine.descriptor):
        raise UserError(
            f"{folder} was removed, moved or replaced while this process worked in it. Nothing more is written; begin "
            "again."
        )


def _taken(folder: Path, until: float) -> tuple[int, str]:
    """The locked file, and the process that was killed with the lock, in words; empty where there is none."""
    path = folder / NAME
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, _OPENED, 0o666)
        except OSError as error:
            raise cannot_write(path, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UserError(f"{path} is no regular file. Remove it.")
        if not _lock(descriptor):
            owner = _owner(descriptor)
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(_PAUSE)
                continue
            raise FolderInUse(f"{folder} is in use by {owner}. Wait until it has ended, or use another folder.")
        if _is_at(folder, descriptor):  # else its owner removed it between our two calls
            break
        os.close(descriptor)
    left_by = _owner(descriptor) if os.fstat(descriptor).st_size else ""
    os.ftruncate(descriptor, 0)
    try:
        os.pwrite(descriptor, json.dumps(_this_process()).encode("utf-8"), 0)
    except OSError as error:
        os.close(descriptor)
        raise cannot_write(path, error) from error
    return descriptor, left_by


def _lock(descriptor: int) -> bool:
    """Lock a file; False if another process has locked it. Where the file system has no locks, it counts as locked."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _is_at(folder: Path, descriptor: int) -> bool:
    """Whether the file that is open is still the one at the folder's path."""
    try:
        return os.path.samestat(os.stat(folder / NAME), os.fstat(descriptor))
    except OSError:
        return False


def _this_process() -> dict[str, object]:
    form = "%Y-%m-%d %H:%M:%S"
    machine_began = time.localtime(time.time() - time.monotonic())
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "began": time.strftime(form),
        "machine_began": time.strftime(form, machine_began),
    }


def _owner(descriptor: int) -> str:
    """Who wrote the lock, in words. It is read through the open file, since closing it once more would end the lock."""
    text = os.pread(descriptor, 10_000, 0).decode("utf-8", "replace")
    try:
        found = parse_json(text)
    except UserError:
        found = None
    if not isinstance(found, dict) or not {"host", "process", "began"} <= found.keys():
        return "another process"
    return f"process {shortened(found['process'])} on {shortened(found['host'])}, since {shortened(found['began'])}"


def _remove_unfinished(folder: Path) -> int:
    """Remove the files that a killed process has not finished, and count them; folders that others lock stay as is."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not Path(parent, name, NAME).exists()]
        for name in names:
            if name.endswith(UNFINISHED):
                Path(parent, name).unlink(missing_ok=True)
                count += 1
    return count


def _what_was_left(folder: Path, left_by: str, removed: int) -> str:
    who = left_by or "another process"
    files = f" {number_of(removed, 'unfinished file')} of it removed." if removed else ""
    comma = "," if "," in who else ""
    return f"Note: {who}{comma} was killed while it worked in {folder}; its lock is taken over.{files}"
