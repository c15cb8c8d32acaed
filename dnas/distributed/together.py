"""Working with the processes that a launcher started, or with those of a process group that is there already."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from dnas.distributed.batch_norm import SynchronisedBatchNorm
from dnas.distributed.environment import SECONDS, Launched, launched, num_restarts, seconds_to_wait
from dnas.distributed.equal import check_same
from dnas.distributed.group import Group
from dnas.distributed.ranks import ALONE, Ranks, ranks, working_with
from dnas.system.errors import UserError
from dnas.version import __version__

# What tensors on the CPU and on a GPU are sent with.
BACKENDS = ("gloo", "nccl")


@contextmanager
def together() -> Iterator[Ranks]:
    """Within the block this process works with the others, if there are others.

    It takes the process group that is initialised, or makes one as torchrun or srun say, which ends with the block.
    Batch norm uses the rows of all ranks. Within a block of its own kind nothing changes.

    Raises:
        UserError: the group's backend cannot be used, ranks have other versions, or they do not meet in time.
    """
    if ranks() is not ALONE:
        yield ranks()
        return
    is_ours = not (dist.is_available() and dist.is_initialized())
    place = launched() if is_ours else None
    if (is_ours and place is None) or (not is_ours and dist.get_world_size() == 1):
        yield ALONE
        return
    if place is not None:
        _meet(place)
    _check_backend()
    group = Group()
    try:
        check_same(group, "versions", (__version__, str(torch.__version__), sys.version_info[:2]))
        with working_with(group), SynchronisedBatchNorm():
            yield group
    finally:
        if is_ours:
            group.close()


def _meet(place: Launched) -> None:
    on_gpu = torch.cuda.is_available()
    if on_gpu and place.local_rank >= torch.cuda.device_count():
        raise UserError(
            f"Rank {place.rank} is process {place.local_rank} of its machine, which has "
            f"{torch.cuda.device_count()} GPUs: start one process for each GPU."
        )
    if on_gpu:
        torch.cuda.set_device(place.local_rank)
    seconds = seconds_to_wait()
    address = f"tcp://{place.address}:{place.port}"
    limit = timedelta(seconds=seconds)
    # torchrun keeps the store where ranks meet over its restarts, so each start has entries of its own in it.
    is_kept_by_us = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(place.address, place.port, place.size, is_kept_by_us, limit, wait_for_workers=False)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=PrefixStore(f"dnas-{num_restarts()}", store),
            rank=place.rank,
            world_size=place.size,
            timeout=limit,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"Rank {place.rank} of {place.size} did not meet the others at {address} within {seconds:.0f} s (set "
            f"{SECONDS} for another limit): {str(error).splitlines()[0]}"
        ) from error


def _check_backend() -> None:
    if not any(backend in str(dist.get_backend_config()) for backend in BACKENDS):
        raise UserError(
            f"The process group has the backend {dist.get_backend()!r}; dnas works with gloo on CPUs and nccl on GPUs: "
            'init_process_group("gloo"), or none, so that dnas makes it.'
        )
