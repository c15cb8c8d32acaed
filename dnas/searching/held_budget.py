"""The expected cost of what will be kept, held at a budget during the search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.cost.limits import Limits
from dnas.method.discretization.within import Rules
from dnas.method.penalty import Penalty
from dnas.method.relaxation import Relaxation
from dnas.searching.supernet import Supernet

# The first multiplier of the square of the excess; it doubles after each epoch in which the excess stays over
# `_NEAR` and does not fall by half, up to the last.
FIRST, LAST = 1.0, 1e4
_NEAR = 0.01


class HeldBudget(Penalty):
    """The augmented Lagrangian of E[cost] <= most, for each limit of a budget.

        g = E[cost] / most - 1,    loss + (max(0, m + r g)^2 - m^2) / (2 r)
        m <- max(0, m + r g / (steps of an epoch)) after each architecture step

    (Hestenes 1969, Powell 1969, Rockafellar 1973 for inequalities, https://doi.org/10.1007/BF01580138), where E is over
    what will be kept (`dnas.cost.chances`). The multiplier m rises while the expected cost is over the budget and falls
    while it is below, to 0 at least, so that nothing is paid for a budget that is met by itself; r rises where that is
    too slow. There the multiplier is updated at minima, here a little at each step.

    Args:
        supernet: whose alphas are searched.
        relaxation: how they become mixtures; the expected ones are looked at.
        bounds: the limits.
        rules: of the discretization.
        steps_per_epoch: architecture steps in an epoch.
    """

    def __init__(
        self, supernet: Supernet, relaxation: Relaxation, bounds: Limits, rules: Rules, *, steps_per_epoch: int
    ):
        self.supernet = supernet
        self.relaxation = relaxation
        self.bounds = bounds
        self.steps_per_epoch = steps_per_epoch
        self._expected = bounds.expected(supernet.decisions, rules.threshold)
        self._most = torch.tensor(bounds.most, dtype=torch.float64, device=supernet.device)
        self.multiplier = torch.zeros_like(self._most)
        self.highest = torch.zeros_like(self._most)  # the multiplier at its highest
        self.factor = torch.full_like(self._most, FIRST)
        self._excess = torch.zeros_like(self._most)  # of the last step
        self._excess_before = torch.full_like(self._most, torch.inf)  # at the end of the epoch before

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        expected = self.supernet.relaxed(alphas, lambda alpha: self.relaxation.expected(alpha, progress))
        excess = self._expected(expected) / self._most - 1
        self._excess.copy_(excess.detach())
        m, r = self.multiplier, self.factor
        paid = ((m + r * excess).clamp(min=0) ** 2 - m**2) / (2 * r)
        return loss + paid.sum().to(loss.dtype)

    def adapt(self) -> None:
        """Update the multipliers after an architecture step."""
        step = self.factor * self._excess / self.steps_per_epoch
        self.multiplier.add_(step).clamp_(min=0)
        self.highest.copy_(torch.maximum(self.highest, self.multiplier))

    def end_epoch(self) -> None:
        """Raise the factor where the excess does not fall."""
        slow = (self._excess > _NEAR) & (self._excess > 0.5 * self._excess_before)
        self.factor.copy_(torch.where(slow, 2 * self.factor, self.factor).clamp(max=LAST))
        self._excess_before.copy_(self._excess)

    @property
    def has_pushed(self) -> bool:
        """Whether a price was ever paid, so that the alphas differ from those of a search without a budget."""
        return bool((self.highest > 0).any())

    def tensors(self) -> list[Tensor]:
        """What a step changes."""
        return [self.multiplier, self.highest, self._excess]

    def scalars(self, mixtures: Mapping[str, Mixture]) -> dict[str, float]:
        """What is logged: for each unit the expected cost of what will be kept, its share of the limit, and m."""
        with torch.no_grad():
            expected = self._expected(mixtures)
        found: dict[str, float] = {}
        limits = zip(self.bounds.units, self.bounds.most, expected.tolist(), self.multiplier.tolist(), strict=True)
        for unit, most, cost, m in limits:
            found |= {f"expected_{unit}": cost, f"{unit}_use": cost / most, f"{unit}_multiplier": m}
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        return {name: tensor.tolist() for name, tensor in self._kept.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Read a state in place."""
        for name, tensor in self._kept.items():
            tensor.copy_(torch.tensor(state[name], dtype=torch.float64))

    @property
    def _kept(self) -> dict[str, Tensor]:
        return {
            "multiplier": self.multiplier,
            "highest": self.highest,
            "factor": self.factor,
            "excess_before": self._excess_before,
        }
