"""Work in many folders at the same time, as tasks of a Ray cluster; the one file that knows Ray."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dnas.system.errors import MissingPackage, UserError
from dnas.system.interrupt import Interrupted, stop_request
from dnas.version import __version__

LOCAL = "local"
_TRIES = 3
_SECONDS = 10.0  # for the address to answer, and for workers to end
_SECONDS_TO_LISTEN = 0.5  # between two looks at whether somebody wants to stop


@dataclass(frozen=True)
class RayTasks:
    """Carries out tasks on Ray's workers, each of which fills a folder that all machines see.

    A task whose worker dies is carried out again, on any worker: it goes on from what its folder holds. Whoever calls
    this does, or reads, the same work afterwards as without it, so results do not depend on Ray.

    Args:
        address: 'local' for Ray on this machine, 'auto' or HOST:PORT for a cluster that runs.
        gpus: GPUs of each task, which may be a part of one, such as 0.25.
        cpus: CPU cores of each task, at least 1.

    Raises:
        UserError: a number is out of range.
    """

    address: str
    gpus: float = 0.0
    cpus: int = 1

    def __post_init__(self) -> None:
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise UserError(f"--gpus_per_row must be 0 to 1, or a whole number; got {self.gpus}.")

    def carry_out(
        self, tasks: Mapping[str, Callable[[], str]], *, folder: Path, say: Callable[[str], None]
    ) -> dict[str, str]:
        """Carry out all tasks; those that failed come back with the reason.

        Args:
            tasks: what to do, by the names that messages have; each gives a line to show, with its name. They are sent
                to other processes, so they are functions of modules with plain arguments (`functools.partial`).
            folder: in which all of them work.
            say: shows a line to a person.

        Raises:
            UserError: the address does not answer, or Ray there is of another version.
            Interrupted: Ctrl-C; the workers end, and what they have saved is there.
        """
        failed: dict[str, str] = {}
        with self.connected() as ray, stop_request() as request:
            (folder.absolute()).mkdir(parents=True, exist_ok=True)
            remote = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_carried_out)

            def begin(name: str) -> Any:
                return remote.remote(__version__, str(folder.absolute()), os.getcwd(), tasks[name])

            running = {begin(name): (name, 1) for name in tasks}
            while running:
                ended, _ = ray.wait(list(running), timeout=_SECONDS_TO_LISTEN)
                if request.made:
                    _stop(ray, list(running))
                    raise Interrupted(f"The workers were stopped; what they have saved is in {folder}.")
                for task in ended:
                    name, tries = running.pop(task)
                    line, mistake, lost = _answer(ray, task)
                    if lost and tries < _TRIES:
                        say(f"{name}: {lost}; it goes on elsewhere, try {tries + 1} of {_TRIES}.")
                        running[begin(name)] = name, tries + 1
                        continue
                    mistake = f"{lost}, {_TRIES} times" if lost else mistake
                    if mistake:
                        failed[name] = mistake
                    say(f"[{len(tasks) - len(running)}/{len(tasks)}] {f'{name}: {mistake}' if mistake else line}")
        return failed

    def check(self) -> None:
        """Check that Ray is installed and that somebody listens at the address, before anything that takes long.

        Raises:
            UserError: one of both is not so.
        """
        _imported()
        if self.address != LOCAL:
            _check_answers(self.address)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Ray, connected to the cluster; a block within another one shares its connection and its workers.

        Raises:
            UserError: the address does not answer, or Ray there is of another version.
        """
        ray = _imported()
        if ray.is_initialized():
            yield ray
            return
        self.check()
        # Workers of this machine find what this process finds: modules of the user's own in the current folder.
        own = {"env_vars": {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}}
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address == LOCAL:
            options |= {"address": "local", "include_dashboard": False, "runtime_env": own}
        else:
            options |= {"address": self.address}
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise UserError(f"Ray at {self.address!r} cannot be used: {str(error).strip().splitlines()[0]}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _stop(ray: Any, tasks: list[Any]) -> None:
    """End workers, and wait until they have let go of their folders."""
    for task in tasks:
        ray.cancel(task, force=True)
    ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS)


def _answer(ray: Any, task: Any) -> tuple[str, str, str]:
    """Of a task that has ended: its line, the user's mistake, or how it was lost; the other two are empty."""
    try:
        return (*ray.get(task), "")
    except ray.exceptions.RayTaskError as error:  # an exception that is no mistake of the user's
        return "", "", f"it failed ({type(error.cause).__name__}: {error.cause})"
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return "", "", f"its worker was lost ({why})"


def _imported() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackage('--ray needs Ray: pip install ".[ray]" in a clone of dnas') from error
    return ray


def _check_answers(address: str) -> None:
    """Check that somebody listens at an address, since Ray itself would try for minutes."""
    if address == "auto":
        return
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise UserError(f"--ray is 'local', 'auto' or HOST:PORT, such as head:6379; got {address!r}.")
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"No Ray answers at {address} ({error}). Start it there (`ray start --head`), or use --ray local."
        ) from error


def _carried_out(version: str, folder: str, here: str, task: Callable[[], str]) -> tuple[str, str]:
    """On a worker: what the task says, and the mistake that stopped it, of which one is empty."""
    if version != __version__:
        return "", f"its worker has dnas {__version__}, and {version} was asked for: install the same on all machines"
    if not Path(folder).is_dir():
        return "", f"its worker on {socket.gethostname()} does not see {folder}: use a folder that all machines share"
    if Path(here).is_dir():
        os.chdir(here)
    try:
        return task(), ""
    except UserError as error:
        return "", str(error)
