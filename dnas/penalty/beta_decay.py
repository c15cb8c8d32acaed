"""A decay of the softmaxed alphas, which keeps any candidate from running away early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.mixture import Mixture
from dnas.penalty.base import Penalty
from dnas.schedule import Linear, Schedule


@dataclass(frozen=True)
class BetaDecay(Penalty):
    """L + lambda(t) * mean over rows of logsumexp_k(alpha_k) (beta-DARTS, Ye et al. 2022, arXiv 2203.01665).

    Args:
        weight: lambda over the progress of the search; the paper goes from 0 to 50 on NAS-Bench-201.
    """

    weight: Schedule = Linear(0.0, 50.0)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        rows = torch.cat([alpha.logsumexp(dim=-1).flatten() for alpha in alphas.values()])
        return loss + self.weight(progress) * rows.mean()
