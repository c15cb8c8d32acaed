"""Random noise on the mixtures of the weight step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.mixture import Mixture
from dnas.core.schedule import Linear, Schedule
from dnas.method.smoothing.base import Smoothing
from dnas.method.smoothing.rows import to_mixture, uniform_like, values_of_operations, with_values
from dnas.system.accepted import accept


@dataclass(frozen=True)
class RandomSmoothing(Smoothing):
    """m + d with d ~ U(-radius, radius) in each entry, turned into a mixture again by `to_mixture`.

    SDARTS-RS (Chen and Hsieh 2020, https://arxiv.org/abs/2002.05283), as in the official code.

    Args:
        radius: schedule over the progress of the search. In the official code it goes from 0.03 towards 0.3 and changes
            once per epoch; here it follows the steps.
    """

    radius: Schedule = Linear(0.03, 0.3)

    def __post_init__(self) -> None:
        accept(self)

    def __call__(
        self,
        mixtures: Mapping[str, Mixture],
        train_loss: Callable[[Mapping[str, Mixture]], Tensor],
        progress: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Mixture]:
        radius = self.radius(progress)
        perturbed = {
            name: to_mixture(m + radius.to(m) * uniform_like(m, generator), mixtures[name])
            for name, m in values_of_operations(mixtures).items()
        }
        return with_values(mixtures, perturbed)
