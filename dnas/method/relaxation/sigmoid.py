"""Independent gates instead of a competition among candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.relaxation.base import Relaxation


@dataclass(frozen=True)
class Sigmoid(Relaxation):
    """m = sigmoid(alpha) for each candidate alone (FairDARTS, Chu et al. 2020, https://arxiv.org/abs/1911.12126)."""

    gates = True

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        return self.expected(alpha, progress)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture(alpha.sigmoid())
