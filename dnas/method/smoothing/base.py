"""What a smoothing is: the weights are trained on mixtures near the true ones."""

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
            mixtures: what the relaxation drew, by decision name.
            train_loss: loss of the weight batch as a function of the mixtures, at the present weights.
            progress: of the search, a scalar tensor in [0, 1].
            generator: of random numbers; None for the global one.
        """
