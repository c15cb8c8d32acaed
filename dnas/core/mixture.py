"""How much of each candidate one forward pass uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
        adds_inactive: whether candidates outside `active` add their value, which is 0, to every number of the output;
            their gradient then is the sum of the output's gradient instead of 0.
    """

    values: Tensor
    active: Active | None = None
    adds_inactive: bool = False

    def row(self, index: int) -> tuple[int, ...]:
        """The candidates of row `index` that have to be computed."""
        return tuple(range(self.values.shape[-1])) if self.active is None else self.active[index]

    def with_values(self, values: Tensor) -> Mixture:
        """The same active candidates with other values."""
        return replace(self, values=values)

    def inactive_sum(self, rows: Iterable[int]) -> Tensor | None:
        """The sum of what the inactive candidates of these rows add, a scalar of value 0.

        None where they add nothing, or where nobody asks for a gradient.
        """
        if not self.adds_inactive or self.active is None or not self.values.requires_grad:
            return None
        values = self.values.reshape(-1, self.values.shape[-1])
        left = [values[row, k] for row in rows for k in range(values.shape[-1]) if k not in self.active[row]]
        return torch.stack(left).sum() if left else None


def uniform(shape: tuple[int, ...], like: Tensor) -> Mixture:
    """Equal weights over the last dimension of `shape`, with the device and (if it is floating) the dtype of `like`."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return Mixture(torch.full(shape, 1.0 / shape[-1], device=like.device, dtype=dtype))
