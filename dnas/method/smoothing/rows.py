"""Which values a smoothing disturbs, and how a disturbed row becomes a mixture again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dnas.core.decision import edges_name
from dnas.core.mixture import Mixture

# Rows whose sum is this close to 1 are mixtures, others are gates; the margin is wide enough for bfloat16.
TOLERANCE = 1e-2


def values_of_operations(mixtures: Mapping[str, Mixture]) -> dict[str, Tensor]:
    """The values that are disturbed, without gradient: all except the weights of edges.

    The official code perturbs only alphas of operations, and nothing in its search with partial channels.
    """
    edges = {edges_name(name) for name in mixtures}
    return {name: mixture.values.detach() for name, mixture in mixtures.items() if name not in edges}


def with_values(mixtures: Mapping[str, Mixture], values: Mapping[str, Tensor]) -> dict[str, Mixture]:
    """The mixtures with `values` in place of their own, if there are any; the others without gradient."""
    return {name: mixture.with_values(values.get(name, mixture.values.detach())) for name, mixture in mixtures.items()}


def to_mixture(perturbed: Tensor, mixture: Mixture) -> Tensor:
    """Clamp to [0, 1], give everything to the largest entry if nothing is left, and divide each row by its sum.

    This follows the official code. Rows that did not sum to 1 before, such as the gates of `Sigmoid`, are only clamped.
    After the division an entry may lie outside the box around its old value. Entries that are not active stay 0, so a
    row with one active candidate, such as a hard sample, cannot change.

    Args:
        perturbed: disturbed values, with the shape of the mixture's values.
        mixture: the mixture before the disturbance.
    """
    active = active_mask(mixture)
    clamped = perturbed.clamp(0, 1) * active
    largest = perturbed.masked_fill(~active, -torch.inf).argmax(dim=-1, keepdim=True)
    nothing_left = clamped.sum(dim=-1, keepdim=True) == 0
    row = torch.where(nothing_left, torch.zeros_like(clamped).scatter(-1, largest, 1.0), clamped)
    sums_to_1 = (mixture.values.detach().sum(dim=-1, keepdim=True) - 1).abs() < TOLERANCE
    return torch.where(sums_to_1, row / row.sum(dim=-1, keepdim=True), clamped)


def active_mask(mixture: Mixture) -> Tensor:
    """True at the active candidates, of the shape of the mixture's values."""
    num_candidates = mixture.values.shape[-1]
    rows = mixture.values.numel() // num_candidates
    flags = [[k in mixture.row(row) for k in range(num_candidates)] for row in range(rows)]
    return torch.tensor(flags).reshape(mixture.values.shape).to(mixture.values.device)


def uniform_like(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform in (-1, 1), with the shape, dtype and device of `like`, drawn on the generator's device."""
    device = like.device if generator is None else generator.device
    return 2 * torch.rand(like.shape, generator=generator, device=device, dtype=like.dtype).to(like.device) - 1
