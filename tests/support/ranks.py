"""Several processes on this machine, started as torchrun starts them, but from one that has torch in memory already."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["dnas.public"])
SECONDS = 600.0  # how long the processes may take


def on_ranks(
    size: int,
    work: Callable[..., Any],
    *arguments: Any,
    environment: dict[str, str] | None = None,
    patience: dict[int, float] | None = None,
) -> list[Any]:
    """What `work(*arguments)` returns in each of the processes, in order of ranks; an exception comes back as one.

    A process that was killed gives back None, as one does that takes longer than its `patience`, where it has one; such
    ones are asked last.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        variables = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
            "DNAS_RANK_SECONDS": "120",
            **(environment or {}),
        }
        process = _CONTEXT.Process(target=_carry_out, args=(theirs, variables, work, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        patience = patience or {}
        order = sorted(range(size), key=lambda rank: rank in patience)
        found = {rank: _received(started[rank][1], patience.get(rank)) for rank in order}
        return [found[rank] for rank in range(size)]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _carry_out(answer: Connection, variables: dict[str, str], work: Callable[..., Any], arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ.update(variables)
    try:
        found = work(*arguments)
    except Exception as error:  # noqa: BLE001 (the test looks at it)
        found = RuntimeError(f"{type(error).__name__}: {error}")
    answer.send_bytes(pickle.dumps(found))  # tensors as bytes, not as memory of a process that will end
    answer.close()


def _received(answer: Connection, patience: float | None) -> Any:
    if not answer.poll(SECONDS if patience is None else patience):
        if patience is not None:
            return None
        raise TimeoutError("a rank gave no answer")
    try:
        return pickle.loads(answer.recv_bytes())
    except EOFError:
        return None


def own_rank() -> int:
    """The rank of this process, before it meets the others."""
    return int(os.environ["RANK"])
