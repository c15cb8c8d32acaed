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


@dataclass(frozen=True)
class Warmup(Schedule):
    """Another schedule, times a factor that rises at first: start + (1 - start) min(1, progress / share).

    As of Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2, where the rate rises from its `start` by
    the same amount each time. A learning rate changes once per epoch, so `start` is the factor of the whole first one.

    Args:
        schedule: of the value.
        share: of the progress, in (0, 1), over which the value rises.
        start: share of the value at the beginning, in [0, 1].
    """

    schedule: Schedule
    share: float = 0.1
    start: float = 0.01

    def __post_init__(self) -> None:
        accept(self)
        if not 0 < self.share < 1:
            raise UserError(f"share of a warm-up must be over 0 and below 1; got {self.share}.")
        if not 0 <= self.start <= 1:
            raise UserError(f"start of a warm-up must be from 0 to 1; got {self.start}.")

    def __call__(self, progress: Tensor) -> Tensor:
        rise = (progress / self.share).clamp(max=1.0)
        return self.schedule(progress) * (self.start + (1 - self.start) * rise)
