"""What stops a training whose numbers are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from dnas.system.errors import NonFiniteLoss
from dnas.training.network_checks import first_non_finite, first_non_finite_gradient


class Divergence:
    """Raises `NonFiniteLoss` where a loss, a gradient or a weight is NaN or infinite.

    Args:
        network: the network that is trained.
        optimizer: its optimizer, whose learning rate the message names.
        clip: largest norm of the gradient; None for no clipping.
        last_good: a sentence on the last good checkpoint.
    """

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None, last_good: Callable[[], str]
    ):
        self.network, self.optimizer, self.clip, self.last_good = network, optimizer, clip, last_good

    def check_step(self, step: int, loss: float, gradient_norm: float, said_of_inputs: Callable[[], str]) -> None:
        """Check a step's loss and gradient, after `step` steps; if one is not finite, say whether its inputs were."""
        what = "" if math.isfinite(loss) else f"the loss is {loss}"
        if not what and not math.isfinite(gradient_norm):  # which also overflows where all entries are finite
            bad = first_non_finite_gradient(self.network)
            what = bad and f"the gradient of {bad} holds NaN or infinity"
        if what:
            raise self._error(step, f"{what}.{said_of_inputs()}".rstrip("."))

    def check_loss(self, step: int, loss: float) -> None:
        """Check a mean of losses after `step` steps."""
        if not math.isfinite(loss):
            raise self._error(step, f"the loss is {loss}")

    def check_weights(self, step: int) -> None:
        """Check all weights and buffers after `step` steps."""
        name = first_non_finite(self.network)
        if name:
            raise self._error(step, f"{name} holds NaN or infinity")

    def _error(self, step: int, what: str) -> NonFiniteLoss:
        rate = self.optimizer.param_groups[0]["lr"]
        return NonFiniteLoss(
            f"The training diverged at or before step {step}: {what}. Lower the learning rate (now {rate:.3g}) or "
            f"the largest gradient norm, clip (now {self.clip}), or mend the data.{self.last_good()}"
        )
