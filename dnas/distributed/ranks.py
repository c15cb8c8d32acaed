"""What a step needs of the processes that take it together; for one process everything is the identity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")


class Ranks(ABC):
    """The processes that work together, each with a rank from 0 to `size` - 1.

    All of them call the same methods in the same order. A tensor is either the same on all ranks (weights, alphas, the
    mean loss, every gradient of it) or each rank's own (its rows, their outputs and loss). `spread` goes from the first
    kind to the second, `add_up` back; each is the other's derivative, so any number of derivatives are right.
    """

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @abstractmethod
    def spread(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Tensors that are the same on all ranks, to be used with each rank's own rows.

        Gradients that come back through them are summed over ranks, those of one call in one message.
        """

    @abstractmethod
    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums over ranks of tensors of the same shapes, differentiable, in one message for each type."""

    def mean(self, value: Tensor, weight: Tensor | float) -> Tensor:
        """The mean over ranks of each rank's value, differentiable; `weight` is the number of samples it stands for."""
        if self.size == 1:
            return value
        weight = value.new_tensor(weight) if isinstance(weight, float | int) else weight.detach().to(value)
        total, weights = self.add_up([value * weight, weight])
        return total / weights

    @abstractmethod
    def rows(self, value: T) -> T:
        """Each rank's own outputs or targets, with those of all ranks one after another, in nested containers."""

    @abstractmethod
    def first(self, tensors: Sequence[Tensor]) -> None:
        """Write the first rank's values into these tensors."""

    @abstractmethod
    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns on the first rank, where alone it is called; a `UserError` of it is raised on all."""

    @abstractmethod
    def each(self, value: T) -> list[T]:
        """The plain value of every rank, in order of ranks."""

    @abstractmethod
    def total(self, number: int) -> int:
        """The sum of a whole number over ranks."""

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return self.total(int(flag)) > 0

    @abstractmethod
    def speaks(self) -> bool:
        """Whether this rank is the one to tell about an error; the first that asks is."""


class Alone(Ranks):
    """One process."""

    rank, size = 0, 1

    def spread(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return list(tensors)

    def rows(self, value: T) -> T:
        return value

    def first(self, tensors: Sequence[Tensor]) -> None:
        pass

    def from_first(self, make: Callable[[], T]) -> T:
        return make()

    def each(self, value: T) -> list[T]:
        return [value]

    def total(self, number: int) -> int:
        return number

    def speaks(self) -> bool:
        return True


ALONE = Alone()
_CURRENT: ContextVar[Ranks] = ContextVar("_CURRENT", default=ALONE)


def ranks() -> Ranks:
    """The processes that this one works with now: one, except within `dnas.distributed.together`."""
    return _CURRENT.get()


@contextmanager
def working_with(current: Ranks) -> Iterator[None]:
    """Within the block, `ranks()` is `current`."""
    token = _CURRENT.set(current)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def own_rows(count: int, rank: int, size: int) -> slice:
    """Which of `count` rows a rank takes: parts in order, whose lengths differ by at most one."""
    return slice(rank * count // size, (rank + 1) * count // size)


def names_of(found: Sequence[Any]) -> str:
    """Which ranks have another value than the first, such as 'rank 2' or 'ranks 1 and 3'."""
    *before, last = [str(rank) for rank, value in enumerate(found) if value != found[0]]
    return f"ranks {', '.join(before)} and {last}" if before else f"rank {last}"
