"""A spring that holds the concentrations of a Dirichlet relaxation near 1."""

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
class Anchor(Penalty):
    """L + weight / 2 * sum (c - 1)^2 with c - 1 = elu(alpha): the distance from Dir(1), the uniform distribution.

    The L2 form of the prior of DrNAS (Chen et al. 2021, https://arxiv.org/abs/2006.10355). The official code
    (`reg_type='l2'`, its default) gives it to Adam as a decay of alpha, which is `AlphaAdam(weight_decay=1e-3)` here.
    That has the same gradient, weight * alpha, where alpha >= 0; below 0 the gradient of this penalty is weight *
    elu(alpha) exp(alpha), that of the concentration. Use only one of the two. Edge decisions are left out; candidates
    that were ruled out count.

    Args:
        weight: schedule over the progress of the search.
    """

    weight: Schedule = Constant(1e-3)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        distances = [nn.functional.elu(alpha).square().sum() for alpha in of_operations(alphas).values()]
        return loss + self.weight(progress) / 2 * torch.stack(distances).sum()
