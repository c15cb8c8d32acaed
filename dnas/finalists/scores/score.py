"""The interface of a score without training, and how networks are ranked by it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


class Score(ABC):
    """Scores a network with new weights by one or several numbers, of which larger ones are better."""

    @abstractmethod
    def __call__(self, network: nn.Module, inputs: Any, generator: torch.Generator) -> tuple[float, ...]:
        """The numbers of a network.

        Args:
            network: with new weights; it is used up.
            inputs: of one batch, on the network's device.
            generator: for random numbers, on the CPU.
        """


def best_of_scores(scores: Sequence[tuple[float, ...]]) -> int:
    """Index of the best network.

    Each number gives a rank, m for the best of m and 1 for the worst, equal ones sharing the lower; the best network
    has the highest sum of log(rank / m) (AZ-NAS, Lee and Ham 2024, https://arxiv.org/abs/2403.19232). For a
    single number that is the one with the highest. Of equal ones it is the first.
    """
    m = len(scores)
    totals = [0.0] * m
    for numbers in zip(*scores, strict=True):
        known = [-math.inf if math.isnan(number) else number for number in numbers]
        ordered = sorted(known)
        first = {number: index for index, number in reversed(list(enumerate(ordered)))}
        totals = [total + math.log((first[number] + 1) / m) for total, number in zip(totals, known, strict=True)]
    return max(range(m), key=lambda index: totals[index])
