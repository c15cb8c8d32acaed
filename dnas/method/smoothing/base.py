"""The interface of a smoothing, which trains the weights on mixtures near the true ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dnas.core.mixture import Mixture


class Smoothing(ABC):
    """Disturbs the mixtures of the weight step, so that the loss becomes flat around them."""

    @abstractmethod
    def __call__(
        self,
        mixtures: Mapping[str, Mixture],
        train_loss: Callable[[Mapping[str, Mixture]], Tensor],
        progress: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Mixture]:
        """The mixtures to train the weights with, without gradient.

        Args:
            mixtures: the relaxation's draw, by decision name.
            train_loss: loss of the weight batch as a function of the mixtures, at the current weights.
            progress: progress of the search, a scalar tensor in [0, 1].
            generator: generator of random numbers; None for the global one.
        """
