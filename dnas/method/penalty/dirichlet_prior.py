"""A pull of the learned Dirichlet distributions towards the uniform one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Schedule
from dnas.method.penalty.base import Penalty, of_operations
from dnas.system.accepted import accept


@dataclass(frozen=True)
class DirichletPrior(Penalty):
    """L + weight * sum over rows of KL(Dir(c) || Dir(1)) with c = elu(alpha) + 1, at least 1e-4 as in the relaxation.

    KL = lnG(sum c) - lnG(K) - sum_k lnG(c_k) + sum_k (c_k - 1) (psi(c_k) - psi(sum c)), with lnG = ln Gamma, psi its
    derivative and K candidates. It is `reg_type='kl'` in the official code of DrNAS (Chen et al. 2021,
    https://arxiv.org/abs/2006.10355), which then sets the decay of the alphas' Adam to 0. Edge decisions have no
    Dirichlet distribution and are left out; candidates that were ruled out count as any other.

    Args:
        weight: schedule over the progress of the search; 1e-3 in the official code.
    """

    weight: Schedule = Constant(1e-3)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        rows = [divergence_from_uniform(alpha).flatten() for alpha in of_operations(alphas).values()]
        return loss + self.weight(progress) * torch.cat(rows).sum()


def divergence_from_uniform(alpha: Tensor) -> Tensor:
    """KL(Dir(c) || Dir(1)) of each row: (..., K) -> (...)."""
    c = (nn.functional.elu(alpha) + 1).clamp(min=1e-4)
    total, ones = c.sum(dim=-1), torch.ones_like(c)
    pull = (c - 1) * (c.digamma() - total.digamma().unsqueeze(-1))
    return total.lgamma() - ones.sum(dim=-1).lgamma() - c.lgamma().sum(dim=-1) + pull.sum(dim=-1)
