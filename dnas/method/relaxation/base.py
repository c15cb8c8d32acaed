"""The interface of a relaxation, which turns alphas into a mixture."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dnas.core.mixture import Mixture


class Relaxation(ABC):
    """Turns the alphas of one decision into weights over its candidates.

    `alpha` is (..., num_candidates), `progress` a scalar tensor from 0 (start of the search) to 1 (end). An alpha of
    -inf marks a candidate that is ruled out; its weight is 0. `trains_alphas` says whether the alphas matter; if they
    do not, a search takes no architecture steps. `gates` says whether each candidate has a weight in [0, 1] of its own;
    otherwise the weights of a row add up to 1.
    """

    trains_alphas = True  # not annotated: jsonargparse would look for the annotation's names in the subclass's file
    gates = False

    @abstractmethod
    def sample(self, alpha: Tensor, progress: Tensor, generator: torch.Generator | None) -> Mixture:
        """One draw, differentiable in alpha."""

    @abstractmethod
    def expected(self, alpha: Tensor, progress: Tensor) -> Mixture:
        """The mixture that evaluation, discretization and diagnostics use; no randomness."""
