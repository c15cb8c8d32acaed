"""A price for indecision, so that the mixture is close to the result of discretization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Linear, Schedule
from dnas.method.penalty.base import Penalty, of_operations
from dnas.system.accepted import accept


@dataclass(frozen=True)
class Entropy(Penalty):
    """L + weight(t) * mean over rows of H(softmax(alpha)), H(p) = -sum_k p_k ln p_k.

    The idea of discretization-aware search (Tian et al. 2020, https://arxiv.org/abs/2007.03154), taken from the paper,
    not from its code. A negative weight rewards indecision. It uses the softmax of the alphas instead of the mixture,
    because a hard sample has no logarithm. Edge decisions are left out; candidates that were ruled out count.

    Args:
        weight: schedule over the progress of the search, in units of the loss per nat.
    """

    weight: Schedule = Linear(0.0, 1.0)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        rows = [entropy(alpha).flatten() for alpha in of_operations(alphas).values()]
        return loss + self.weight(progress) * torch.cat(rows).mean()


def entropy(alpha: Tensor) -> Tensor:
    """H(softmax(alpha)) of each row, in nats: (..., K) -> (...)."""
    log_p = alpha.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)
