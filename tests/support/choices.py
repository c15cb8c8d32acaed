"""Inputs, mixtures and candidates of choices."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnas.core.mixture import Mixture

X = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)


class Counted(nn.Module):
    """factor * x, and how often it was called."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor, self.calls = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.factor * x


def mixture(*values: float | Sequence[float], active=None) -> Mixture:
    return Mixture(torch.tensor(values, dtype=torch.float64), active)
