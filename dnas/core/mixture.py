"""How much of each candidate one forward pass uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# For each row of a decision: the candidates that may be non-zero. The list lives on the host, so that a forward pass
# can skip the others without asking the device.
Active = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Mixture:
    """Weights over the candidates of one decision.

    Args:
        values: shape (num_candidates,) for a choice, (num_edges, num_candidates) for the operations of a cell,
            (num_edges,) for the edges of a cell.
        active: indices of the candidates that may be non-zero, for each row (a choice has one row, a cell one per
            edge); None for all. A candidate outside `active` has the value 0 and is not computed, so the model's loss
            has gradient 0 there; a penalty on the values, such as an expected cost, may have another.
    """

    values: Tensor
    active: Active | None = None

    def row(self, index: int) -> tuple[int, ...]:
        """The candidates of row `index` that have to be computed."""
        return tuple(range(self.values.shape[-1])) if self.active is None else self.active[index]

    def with_values(self, values: Tensor) -> Mixture:
        """The same active candidates with other values."""
        return Mixture(values, self.active)


def uniform(shape: tuple[int, ...], like: Tensor) -> Mixture:
    """Equal weights over the last dimension of `shape`, with the device and (if it is floating) the dtype of `like`."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return Mixture(torch.full(shape, 1.0 / shape[-1], device=like.device, dtype=dtype))
