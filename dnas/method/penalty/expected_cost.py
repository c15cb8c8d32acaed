"""A price for the cost of the mixture on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.method.penalty.base import MeasureCosts, Penalty
from dnas.system.accepted import accept
from dnas.system.errors import UserError

Unit = Literal["flops", "parameters"]

# C / target is not driven below this: C^exponent has no finite slope once only skip connections are left.
_LEAST = 1e-6


@dataclass(frozen=True)
class ExpectedCost(Penalty):
    """L * (C / target)^exponent with C = sum over decisions and candidates of mixture * cost.

    The multiplicative form of ProxylessNAS (Cai et al. 2019, https://arxiv.org/abs/1812.00332, section 3.2.1, there
    with a logarithm) and MnasNet (Tan et al. 2019, https://arxiv.org/abs/1807.11626, eq. 2). Its gradient is
    (C / target)^exponent (dL + exponent L dC / C). Adam hardly sees the factor in front, so the exponent alone decides
    how much cost counts, and the target has almost no effect. With `only_above` nothing is paid while C is below the
    target (MnasNet, eq. 3 with an exponent of 0 there), and the target decides where the search goes.

    Args:
        costs: decision name -> nested lists of the decision's shape with the cost of each candidate (in any unit, such
            as FLOPs or milliseconds); decisions that are not named cost nothing. Or 'flops' or 'parameters': these are
            measured on the supernet before the first step, as a share of the cost of equal weights, which is about the
            mean of random architectures.
        target: cost at which the loss is unchanged, in the same unit. For measured costs it is a share of equal
            weights' cost, so that 0.5 is half of it.
        exponent: how much is paid for exceeding the target; 0 for nothing.
        only_above: whether C below the target leaves the loss as it is.

    Raises:
        UserError: there are no costs, or the target is not above 0; when called, costs name no decision or have another
            shape.
    """

    costs: Mapping[str, list] | Unit
    target: float
    exponent: float = 0.07
    only_above: bool = False

    def __post_init__(self) -> None:
        accept(self)
        if isinstance(self.costs, str) and self.costs not in get_args(Unit):
            raise UserError(
                f"costs are measured in {' or '.join(get_args(Unit))}, or numbers by decision; got {self.costs!r}."
            )
        if not self.costs or not self.target > 0:
            raise UserError(f"ExpectedCost needs costs and a target above 0; got {len(self.costs)} and {self.target}.")

    def measured(self, measure: MeasureCosts) -> ExpectedCost:
        if not isinstance(self.costs, str):
            return self
        found = measure(self.costs)
        # Computed exactly, so that the size of the measured batch does not matter.
        total = sum(
            (Fraction(cost) / len(row) for rows in found.values() for row in _rows(rows) for cost in row), Fraction()
        )
        if not total:
            raise UserError(
                f"No candidate of this supernet has {self.costs}, so there is nothing to pay for: leave ExpectedCost "
                "out, or give costs of your own, such as milliseconds."
            )
        return replace(self, costs={name: _shares(rows, total) for name, rows in found.items()})

    def __call__(
        self, loss: Tensor, alphas: Mapping[str, Tensor], mixtures: Mapping[str, Mixture], progress: Tensor
    ) -> Tensor:
        if isinstance(self.costs, str):
            raise UserError(
                f"The costs in {self.costs} have not been measured, which dnas.search does before the first step. In a "
                "loop of your own give ExpectedCost(dnas.cost.candidate_costs(model, example_inputs), target)."
            )
        expected = [_expected(name, costs, mixtures, loss) for name, costs in self.costs.items()]
        ratio = torch.stack(expected).sum() / self.target
        return loss * ratio.clamp(min=1.0 if self.only_above else _LEAST) ** self.exponent


def _expected(name: str, costs: list, mixtures: Mapping[str, Mixture], like: Tensor) -> Tensor:
    """sum over candidates of mixture * cost."""
    if name not in mixtures:
        raise UserError(f"costs has {name!r}, which is not a decision of the model; it has {sorted(mixtures)}.")
    numbers, values = _tensor(_frozen(costs), like.dtype, like.device), mixtures[name].values
    if numbers.shape != values.shape:
        raise UserError(
            f"The costs of {name!r} have shape {tuple(numbers.shape)}, but its mixture {tuple(values.shape)}: "
            "give one number for each candidate."
        )
    return (values * numbers).sum()


def _frozen(costs: list) -> tuple:
    return tuple(_frozen(cost) if isinstance(cost, list) else cost for cost in costs)


@lru_cache(maxsize=64)  # copying from the host at every step would wait, and cannot be part of a CUDA graph
def _tensor(costs: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(costs, dtype=dtype, device=device)


def _rows(costs: list) -> list[list[float]]:
    return costs if isinstance(costs[0], list) else [costs]


def _shares(costs: list, total: Fraction) -> list:
    return [_shares(cost, total) if isinstance(cost, list) else float(Fraction(cost) / total) for cost in costs]
