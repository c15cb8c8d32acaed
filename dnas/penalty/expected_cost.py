"""A price for what the mixture would cost on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.mixture import Mixture
from dnas.penalty.base import Penalty


@dataclass(frozen=True)
class ExpectedCost(Penalty):
    """L * (C / target)^exponent with C = sum over decisions and candidates of mixture * cost.

    The multiplicative form of ProxylessNAS (Cai et al. 2019, https://arxiv.org/abs/1812.00332, section 3.2.1, there
    with a logarithm) and MnasNet (Tan et al. 2019, https://arxiv.org/abs/1807.11626, eq. 2).

    Args:
        costs: decision name -> nested lists of the decision's shape: the cost of each candidate (any unit, such as
            FLOPs or milliseconds); decisions that are not named cost nothing.
        target: cost at which the loss is unchanged, in the same unit.
        exponent: how much is paid for exceeding it; 0: nothing.
    """

    costs: Mapping[str, list]
    target: float
    exponent: float = 0.07

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        expected = [
            (mixtures[name].values * torch.as_tensor(cost, dtype=loss.dtype, device=loss.device)).sum()
            for name, cost in self.costs.items()
        ]
        return loss * (torch.stack(expected).sum() / self.target) ** self.exponent
