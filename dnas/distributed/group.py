"""Ranks over `torch.distributed`, which notice when one of them is lost."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dnas.distributed.collectives import AddUp, Spread, summed
from dnas.distributed.environment import SECONDS
from dnas.distributed.ranks import ALONE, Ranks, working_with
from dnas.system.errors import UserError

T = TypeVar("T")

# How long the ranks that are left wait for an answer of the others, in seconds, before they count as lost.
ANSWER_SECONDS = 5.0


class LostRank(UserError):
    """A rank has died or no longer answers; the message names it."""


class Group(Ranks):
    """The ranks of the process group that is initialised."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.store = dist.distributed_c10d._get_default_store()
        self._is_broken = False
        # Of numbers that the host reads; on the CPU, so that no GPU has to be waited for.
        self._device = torch.device("cpu" if "gloo" in str(dist.get_backend_config()) else "cuda")
        self.store.set(f"dnas/name/{self.rank}", f"process {os.getpid()} on {socket.gethostname()}")

    # Tensors

    def spread(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        found = list(tensors)
        wanted = [index for index, tensor in enumerate(found) if tensor.requires_grad]
        if wanted and torch.is_grad_enabled():
            spread = Spread.apply(self._reduce, *(found[index] for index in wanted))
            for index, tensor in zip(wanted, spread, strict=True):
                found[index] = tensor
        return found

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return list(AddUp.apply(self._reduce, *tensors))
        return summed(self._reduce, tensors)

    def _reduce(self, flat: Tensor) -> None:
        self._together(lambda: dist.all_reduce(flat))

    def first(self, tensors: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for tensor in tensors:
                plain = tensor.detach().contiguous()
                self._together(lambda plain=plain: dist.broadcast(plain, 0))
                tensor.copy_(plain)

    def rows(self, value: T) -> T:
        if isinstance(value, Tensor):
            return self._joined(value)  # pyright: ignore[reportReturnType]
        if isinstance(value, dict):
            return {key: self.rows(part) for key, part in value.items()}  # pyright: ignore[reportReturnType]
        if isinstance(value, tuple | list):
            return type(value)(self.rows(part) for part in value)  # pyright: ignore[reportCallIssue]
        raise UserError(
            f"Outputs of several ranks are put together as tensors, tuples, lists or dicts of them; got a "
            f"{type(value).__name__}. Use one process."
        )

    def _joined(self, own: Tensor) -> Tensor:
        """The rows of all ranks; parts are filled up to the longest, since messages have one length."""
        counts = self.each(len(own))
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        self._together(lambda: dist.all_gather(parts, padded))
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    # Words

    def from_first(self, make: Callable[[], T]) -> T:
        made: list[Any] = [None, None]
        if self.is_first:
            try:
                with working_with(ALONE):
                    made = [make(), None]
            except UserError as error:
                made = [None, error]
        self._together(lambda: dist.broadcast_object_list(made, 0))
        if made[1] is not None:
            raise made[1]
        return made[0]

    def each(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.size
        self._together(lambda: dist.all_gather_object(found, value))
        return found

    def total(self, number: int) -> int:
        sum_ = torch.tensor([number], device=self._device)
        self._reduce(sum_)
        return int(sum_)

    # Lost ranks

    def _together(self, talk: Callable[[], object]) -> None:
        """Carry out an operation of all ranks.

        Raises:
            LostRank: it failed, since a rank has died or does not answer.
        """
        try:
            talk()
        except (RuntimeError, ValueError) as error:  # a backend raises no type of its own
            raise LostRank(self._roll_call(error)) from error

    def _roll_call(self, error: Exception) -> str:
        """Who is left after an operation has failed, in words."""
        self._is_broken = True
        with suppress(RuntimeError, ValueError):  # closes our connections, so that ranks that wait for us notice
            dist.destroy_process_group()
        silent = []
        try:
            self.store.set(f"dnas/answer/{self.rank}", "here")
            until = time.monotonic() + ANSWER_SECONDS
            silent = [rank for rank in range(self.size) if not self._answers(rank, until)]
            named = ", ".join(self._named(rank) for rank in silent)
        except (RuntimeError, ValueError):  # the store is kept by the first rank, unless torchrun keeps it
            return f"Lost rank 0 of {self.size}, which no longer answers."
        if not silent:
            return (
                "The ranks can no longer exchange tensors, though all answer. One may have taken longer than the "
                f"others wait (set {SECONDS} to more seconds): {str(error).splitlines()[0]}"
            )
        return f"Lost {named}: it died, or did not answer in time. The run goes on from its last checkpoint."

    def _named(self, rank: int) -> str:
        return f"rank {rank} of {self.size} ({self.store.get(f'dnas/name/{rank}').decode()})"

    def _answers(self, rank: int, until: float) -> bool:
        left = max(until - time.monotonic(), 0.05)
        try:
            self.store.wait([f"dnas/answer/{rank}"], timedelta(seconds=left))
        except dist.DistStoreError:
            return False
        return True

    def speaks(self) -> bool:
        """Whether this rank is the one to tell about an error; the first that asks is."""
        try:
            return self.store.add("dnas/spoken", 1) == 1
        except RuntimeError:  # the first rank, which kept the store, is gone
            return True

    def close(self) -> None:
        """Leave the group; after an error the first rank, which keeps the store, stays until the others have left."""
        with suppress(RuntimeError, ValueError):
            if self._is_broken:
                self.store.set(f"dnas/left/{self.rank}", "")
                if self.is_first:
                    self._wait_for_others()
            else:
                dist.destroy_process_group()

    def _wait_for_others(self) -> None:
        until = time.monotonic() + ANSWER_SECONDS
        for rank in range(self.size):
            with suppress(dist.DistStoreError):
                if self.store.check([f"dnas/answer/{rank}"]):
                    self.store.wait([f"dnas/left/{rank}"], timedelta(seconds=max(until - time.monotonic(), 0.05)))
