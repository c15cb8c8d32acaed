"""Which processes a launcher has started, as its environment variables say: torchrun's, or those of Slurm's srun."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dnas.system.errors import UserError

# How long a rank waits for the others, in seconds; planning and measuring on the first rank must fit into it.
SECONDS = "DNAS_RANK_SECONDS"
DEFAULT_SECONDS = 600.0
_TORCHRUN = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
# Of a step that srun began; in the script of sbatch, where one process runs, the last two are not set.
_SLURM = {"rank": "SLURM_PROCID", "size": "SLURM_STEP_NUM_TASKS", "local_rank": "SLURM_LOCALID"}
_PORT = 29500  # the port that PyTorch's launchers take too


@dataclass(frozen=True)
class Launched:
    """A process that a launcher started beside others.

    Args:
        rank: its number among all.
        size: number of processes.
        local_rank: its number on its machine, which is that of its GPU.
        address, port: where the first process is met.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """What the launcher says; None if there is one process.

    Raises:
        UserError: the variables make no sense.
    """
    by_torchrun = "RANK" in environment and "WORLD_SIZE" in environment
    by_slurm = "SLURM_PROCID" in environment and "SLURM_STEP_NUM_TASKS" in environment
    if not by_torchrun and not by_slurm:
        return None
    names = _TORCHRUN if by_torchrun else _SLURM
    rank, size, local_rank = (_number(environment, names[name]) for name in ("rank", "size", "local_rank"))
    if size == 1:
        return None
    if not 0 <= rank < size:
        raise UserError(f"{names['rank']}={rank} is no rank of {names['size']}={size} processes.")
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_JOB_NODELIST", "localhost"))
    address = environment.get("MASTER_ADDR") or ("localhost" if by_torchrun else first_node(nodes))
    # Several jobs may share a machine, so each has a port of its own.
    port = _number(environment, "MASTER_PORT") if "MASTER_PORT" in environment else _port_of_job(environment)
    return Launched(rank, size, local_rank, address, port)


def first_node(nodes: str) -> str:
    """The first machine of a Slurm list, such as 'gpu007' of 'gpu[007-009,012],login1'."""
    found = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    return f"{found[1]}{found[2] or ''}{found[3]}" if found else nodes


def seconds_to_wait(environment: Mapping[str, str] = os.environ) -> float:
    """How long a rank waits for the others.

    Raises:
        UserError: the variable is no number above 0.
    """
    text = environment.get(SECONDS, str(DEFAULT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise UserError(f"{SECONDS} is how many seconds a rank waits for the others, over 0; got {text!r}.")
    return seconds


def num_restarts(environment: Mapping[str, str] = os.environ) -> int:
    """How often torchrun has started this process again after a rank was lost."""
    return _number(environment, "TORCHELASTIC_RESTART_COUNT") if "TORCHELASTIC_RESTART_COUNT" in environment else 0


def may_restart(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun will start this process again if a rank is lost."""
    return environment.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def _port_of_job(environment: Mapping[str, str]) -> int:
    return _PORT + _number(environment, "SLURM_JOB_ID") % 10_000 if "SLURM_JOB_ID" in environment else _PORT


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdigit():
        raise UserError(
            f"The launcher's variable {name} must be a whole number; it is {text!r}. Start the processes with torchrun "
            "or srun, or unset it for one process."
        )
    return int(text)
