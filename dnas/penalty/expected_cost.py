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

    Raises:
        ValueError: no costs, a target that is not above 0; when called, costs of no decision or of another shape.
    """

    costs: Mapping[str, list]
    target: float
    exponent: float = 0.07

    def __post_init__(self) -> None:
        if not self.costs or not self.target > 0:
            raise ValueError(f"ExpectedCost needs costs and a target above 0; got {len(self.costs)} and {self.target}.")

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        expected = [self._of_decision(name, mixtures, loss) for name in self.costs]
        return loss * (torch.stack(expected).sum() / self.target) ** self.exponent

    def _of_decision(self, name: str, mixtures: Mapping[str, Mixture], like: Tensor) -> Tensor:
        """sum over candidates of mixture * cost."""
        if name not in mixtures:
            raise ValueError(f"costs has {name!r}, which is no decision of the model; it has {sorted(mixtures)}.")
        costs, values = torch.as_tensor(self.costs[name], dtype=like.dtype, device=like.device), mixtures[name].values
        if costs.shape != values.shape:
            raise ValueError(
                f"The costs of {name!r} have shape {tuple(costs.shape)}, its mixture {tuple(values.shape)}: "
                "one number for each candidate."
            )
        return (values * costs).sum()
