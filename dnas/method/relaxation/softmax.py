"""The relaxation of DARTS: one softmax per row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.relaxation.base import Relaxation


@dataclass(frozen=True)
class Softmax(Relaxation):
    """m = softmax(alpha) over the candidates (DARTS, Liu et al. 2019, eq. 2, https://arxiv.org/abs/1806.09055)."""

    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        return self.expected(alpha, progress)

    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        return Mixture(alpha.softmax(dim=-1))
