"""How much of each candidate one forward pass uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# For each row of a decision the candidates that may be non-zero. It lives on the host, so that a forward pass can
# leave out the others without asking the device.
Active = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Mixture:
    """Weights over the candidates of one decision.

    Args:
        values: (num_candidates,) for a choice, (num_edges, num_candidates) for the operations of a cell,
            (num_edges,) for the edges of a cell.
        active: for each row (one row for a choice, one per edge for a cell) the indices of the candidates that may
            be non-zero; None for all. An entry outside `active` is 0 and its candidate is not computed, so the loss of
            the model has gradient 0 there; a penalty on the values (an expected cost) may have another.
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
    """Equal weights over the last dimension of `shape`, with the device and (where it is floating) dtype of `like`."""
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return Mixture(torch.full(shape, 1.0 / shape[-1], device=like.device, dtype=dtype))
