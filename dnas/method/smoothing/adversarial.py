"""Training the weights on the worst mixtures nearby."""

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
from dnas.system.errors import UserError


@dataclass(frozen=True)
class AdversarialSmoothing(Smoothing):
    """m + d with d from projected gradient ascent of the training loss in the box |d| <= r (SDARTS-ADV).

        d <- clamp(d + (2 r / steps) sign(dL_train / dm), -r, r),   then m + d becomes a mixture again (`to_mixture`)

    Chen and Hsieh 2020, https://arxiv.org/abs/2002.05283, and the official code: the start is random in the box, and if
    the training loss ends lower than at m, m stays as it is. There the attack runs in evaluation mode, with running
    statistics; here the loss is that of the weight step, with statistics of the batch. It costs `steps` forward and
    backward passes and two forward passes.

    Args:
        radius: r over the progress of the search. In the official code it goes from 0.03 towards 0.3 and changes once
            per epoch; here it follows the steps.
        steps: number of ascent steps, at least 1.
        random_start: whether to start at a random point of the box; otherwise at m.

    Raises:
        UserError: steps is below 1.
    """

    radius: Schedule = Linear(0.03, 0.3)
    steps: int = 7
    random_start: bool = True

    def __post_init__(self) -> None:
        accept(self)
        if self.steps < 1:
            raise UserError(f"AdversarialSmoothing takes 1 or more steps; got {self.steps}. For none, omit smoothing.")

    def __call__(
        self,
        mixtures: Mapping[str, Mixture],
        train_loss: Callable[[Mapping[str, Mixture]], Tensor],
        progress: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Mixture]:
        start = values_of_operations(mixtures)
        r = {name: self.radius(progress).to(values) for name, values in start.items()}
        m = start
        if self.random_start:
            m = {name: to_mixture(m[name] + r[name] * uniform_like(m[name], generator), mixtures[name]) for name in m}
        for _ in range(self.steps):
            g = _gradient(mixtures, m, train_loss)
            d = {name: m[name] + 2 * r[name] / self.steps * g[name].sign() - start[name] for name in m}
            m = {name: to_mixture(start[name] + d[name].clamp(-r[name], r[name]), mixtures[name]) for name in m}
        with torch.no_grad():
            before, after = (train_loss(with_values(mixtures, values)) for values in (start, m))
        # Compared on the device: nothing is read here.
        return with_values(mixtures, {name: torch.where(before > after, start[name], m[name]) for name in m})


def _gradient(
    mixtures: Mapping[str, Mixture], values: Mapping[str, Tensor], train_loss: Callable[[Mapping[str, Mixture]], Tensor]
) -> dict[str, Tensor]:
    """dL_train / d values; 0 for a mixture that takes no part."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        loss = train_loss(with_values(mixtures, leaves))
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))
