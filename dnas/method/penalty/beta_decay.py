"""A decay of the softmaxed alphas, which keeps any candidate from running away early."""

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
class BetaDecay(Penalty):
    """L + lambda(t) * mean over rows of logsumexp_k(alpha_k).

    beta-DARTS (Ye et al. 2022, https://arxiv.org/abs/2203.01665); the mean is over the rows of all decisions, as in the
    official code. Edge decisions are left out; candidates that were ruled out count as any other.

    Args:
        weight: lambda over the progress of the search. The official code uses 50 * epoch / 100: from 0 to 50 in the 100
            epochs of NAS-Bench-201.
    """

    weight: Schedule = Linear(0.0, 50.0)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        rows = torch.cat([alpha.logsumexp(dim=-1).flatten() for alpha in of_operations(alphas).values()])
        return loss + self.weight(progress) * rows.mean()
