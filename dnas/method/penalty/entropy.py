"""A price for indecision, so that the mixture is close to what discretization will make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Linear, Schedule
from dnas.method.penalty.base import Penalty, of_operations


@dataclass(frozen=True)
class Entropy(Penalty):
    """L + weight(t) * mean over rows of H(softmax(alpha)), H(p) = -sum_k p_k ln p_k.

    The idea of discretization-aware search (Tian et al. 2020, https://arxiv.org/abs/2007.03154); from the paper's idea,
    not from its code. A negative weight rewards indecision. It takes the softmax of the alphas and not the mixture,
    whose logarithm a hard sample does not have. Edge decisions are left out; candidates that were ruled out count.

    Args:
        weight: over the progress of the search, in units of the loss per nat.
    """

    weight: Schedule = Linear(0.0, 1.0)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        rows = [entropy(alpha).flatten() for alpha in of_operations(alphas).values()]
        return loss + self.weight(progress) * torch.cat(rows).mean()


def entropy(alpha: Tensor) -> Tensor:
    """H(softmax(alpha)) of each row, in nats: (..., K) -> (...)."""
    log_p = alpha.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
