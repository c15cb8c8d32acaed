"""Stops a search when a loss or a weight becomes NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from dnas.searching.course import Course
from dnas.searching.execution import Stepper
from dnas.system.errors import NonFiniteLoss


class Finiteness:
    """Checks that the losses and weights of a search are finite.

    Args:
        stepper: holds the supernet and the optimizers that are checked.
        course: how far the search has come.
        last_good: returns a sentence about the last good checkpoint, after a blank, or an empty text.
    """

    def __init__(self, stepper: Stepper, course: Course, *, last_good: Callable[[], str]):
        self.stepper = stepper
        self.course = course
        self.last_good = last_good

    def check_losses(self, said_of_inputs: Callable[[], str] = lambda: "") -> None:
        """Check that all scalars of the epoch so far are finite.

        Args:
            said_of_inputs: returns a sentence, after a blank, on the inputs of the latest step.

        Raises:
            NonFiniteLoss: a scalar is not finite.
        """
        step = self.course.totals.first_non_finite()
        if step is not None:
            latest = self.course.totals.latest().items()
            bad = [f"{name} = {value}" for name, value in latest if not math.isfinite(value)]
            what = ", ".join(bad) or "a loss was NaN or infinite"
            raise NonFiniteLoss(self._diverged(f"at step {step}", f"{what}.{said_of_inputs()}".rstrip(".")))

    def check_weights(self) -> None:
        """Check that weights, alphas and the optimizers' states are finite.

        Raises:
            NonFiniteLoss: a value is not finite.
        """
        supernet = self.stepper.supernet
        tensors = {**dict(supernet.model.named_parameters()), **supernet.alphas}
        for optimizer in (self.stepper.weight_optimizer, self.stepper.alpha_optimizer):
            for index, state in enumerate(optimizer.state.values()):
                tensors |= {f"{name} of weight {index}": t for name, t in state.items() if isinstance(t, Tensor)}
        for name, tensor in tensors.items():
            if not bool(tensor.isfinite().all()):
                raise NonFiniteLoss(self._diverged(f"in step {self.course.step}", f"{name} is NaN or infinite"))

    def _diverged(self, when: str, what: str) -> str:
        rate, clip = self.stepper.weight_optimizer.param_groups[0]["lr"], self.stepper.settings.weights.clip
        return (
            f"The search diverged {when} (epoch {self.course.epoch}): {what}. Lower the weights' learning rate "
            f"(now {rate:.3g}) or clip their gradient (now {clip}), or mend the data.{self.last_good()}"
        )
