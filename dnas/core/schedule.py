"""Values that change with the progress of a search or training, from 0 to 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.system.accepted import accept
from dnas.system.errors import UserError


class Schedule(ABC):
    """A function of progress in [0, 1]; progress is a tensor, so that a captured graph sees it change."""

    @abstractmethod
    def __call__(self, progress: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value all the time."""

    value: float

    def __post_init__(self) -> None:
        accept(self)

    def __call__(self, progress: Tensor) -> Tensor:
        return torch.full_like(progress, self.value)


@dataclass(frozen=True)
class Linear(Schedule):
    """start + (end - start) progress."""

    start: float
    end: float

    def __post_init__(self) -> None:
        accept(self)

    def __call__(self, progress: Tensor) -> Tensor:
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cosine(Schedule):
    """end + (start - end) (1 + cos(pi progress)) / 2 (SGDR, Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5)."""

    start: float
    end: float

    def __post_init__(self) -> None:
        accept(self)

    def __call__(self, progress: Tensor) -> Tensor:
        return self.end + 0.5 * (self.start - self.end) * (1 + torch.cos(math.pi * progress))


@dataclass(frozen=True)
class Exponential(Schedule):
    """start (end / start)^progress: the same factor over each equal part of the progress.

    In P-DARTS the dropout after skip connections falls by exp(-0.2) per epoch (Chen et al. 2019, official code), which
    over n epochs leads to `end = start * math.exp(-0.2 * n)`.

    Raises:
        UserError: start or end is not above 0.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        accept(self)
        if not (self.start > 0 and self.end > 0):
            raise UserError(
                f"An exponential schedule goes from and to numbers over 0; got start={self.start} and end={self.end}. "
                "Linear and Cosine can end at 0."
            )

    def __call__(self, progress: Tensor) -> Tensor:
        return self.start * (self.end / self.start) ** progress
