"""Drop-path: in training, whole edges of a network are left out at random."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from dnas.system.errors import UserError


class DropPath(nn.Module):
    """Zeroes each sample with probability p and divides the others by 1 - p (Larsson et al. 2017, arXiv 1605.07648).

    In eval mode, and at p = 0, the start value, the input itself is returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        factor = self.factor(x)
        return x if factor is None else x * factor

    def factor(self, x: Tensor) -> Tensor | None:
        """A draw for each sample of x, (batch, 1, 1, 1): 0 or 1 / (1 - p); None where nothing is dropped."""
        if not self.training or self.probability == 0.0:
            return None
        keep = 1.0 - self.probability
        mask = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < keep
        return mask.to(x.dtype) / keep

    def extra_repr(self) -> str:
        return f"probability={self.probability}"


def path_masks(rate: Tensor, number: int, x: Tensor) -> Tensor:
    """`number` draws for each sample of x: 1 / (1 - rate) with probability 1 - rate, and 0 otherwise.

    Args:
        rate: 0-dim, in [0, 1); at 0 all masks are 1.
        number: number of masks for each sample.
        x: (batch, ...); the masks get its device and dtype.

    Returns:
        (number, batch, 1, 1, 1).
    """
    keep = 1 - rate
    drawn = torch.rand(number, x.shape[0], 1, 1, 1, device=x.device) < keep
    return (drawn / keep).to(x.dtype)


def set_drop_path(network: nn.Module, probability: float) -> None:
    """Set the probability, in [0, 1), with which training drops each edge of `network` that is not an identity.

    It warns if that has no effect: only the evaluation networks of `space.network()` have edges to drop.

    Raises:
        UserError: the probability is out of range.
    """
    if not 0.0 <= probability < 1.0:
        raise UserError(f"The drop-path probability must lie in [0, 1); got {probability}.")
    paths = [module for module in network.modules() if isinstance(module, DropPath)]
    if probability > 0 and not paths:
        warnings.warn(f"Drop-path has no effect: {type(network).__name__} has no edge to drop.", stacklevel=2)
    for path in paths:
        path.probability = probability
