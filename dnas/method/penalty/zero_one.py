"""A push of independent gates towards 0 or 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Constant, Schedule
from dnas.method.penalty.base import Penalty, of_operations
from dnas.system.accepted import accept


@dataclass(frozen=True)
class ZeroOne(Penalty):
    """L - weight * mean over all gates of (sigmoid(alpha) - 0.5)^2, the gates of all decisions in one mean.

    The zero-one loss of FairDARTS (Chu et al. 2020, https://arxiv.org/abs/1911.12126); sign, mean and weight as in the
    official code. Edge decisions have no gates and are left out; candidates that were ruled out count as any other.

    Args:
        weight: schedule over the progress of the search; 10 in the official code.
    """

    weight: Schedule = Constant(10.0)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        gates = torch.cat([alpha.sigmoid().flatten() for alpha in of_operations(alphas).values()])
        return loss - self.weight(progress) * (gates - 0.5).square().mean()
