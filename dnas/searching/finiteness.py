"""What happens in a search or a training when a loss, a gradient or a weight is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from dnas.core.batch import map_tensors
from dnas.distributed.ranks import ranks
from dnas.system.errors import NonFiniteLoss
from dnas.system.tensor_file import first_non_finite
from dnas.system.words import number_of
from dnas.task.batch_check import Given, bad_inputs, places_of, steps_on

T = TypeVar("T")


class Finiteness:
    """Leaves out as many steps as it may whose numbers are not finite, and stops at the next one.

    Args:
        of: 'search' or 'training', for messages.
        optimizer: that of the weights, whose learning rate messages name.
        clip: largest norm of the weights' gradient; None for no clipping.
        at_most: steps that may be left out; 0 for none. With more, each step begins with a copy of what it changes.
        moving: returns everything that a step changes.
        put_back: puts that back.
        looks: whether the numbers of every step are read, which makes a GPU wait; they are if steps may be left out.
        last_good: returns a sentence about the last good checkpoint, after a blank, or an empty text.
        say: is told which steps are left out.
    """

    def __init__(
        self,
        of: str,
        optimizer: torch.optim.Optimizer,
        clip: float | None,
        *,
        at_most: int,
        moving: Callable[[], Mapping[str, Any]],
        put_back: Callable[[Mapping[str, Any]], None],
        looks: bool,
        last_good: Callable[[], str],
        say: Callable[[str], None],
    ):
        self.of, self.optimizer, self.clip, self.at_most = of, optimizer, clip, at_most
        self.moving, self.put_back, self.looks = moving, put_back, looks
        self.last_good, self.say = last_good, say
        self.num_skipped = 0

    def taken(
        self, given: Sequence[Given], step: Callable[[], T], *, wrong_with: Callable[[T], str], when: str
    ) -> T | None:
        """What a step returns; None if it is left out, so that nothing has changed but the number of such steps.

        Args:
            given: the batches, as for `steps_on`.
            step: takes the step.
            wrong_with: says which of the numbers that it returned are not finite; empty if all are.
            when: such as 'at step 3', for messages.

        Raises:
            NonFiniteLoss: a number is not finite, and no more steps may be left out.
            UserError: as `steps_on`.
        """
        before: Mapping[str, Any] = {}
        may_skip = self.num_skipped < self.at_most
        if may_skip:
            bad = bad_inputs(given)
            if ranks().any(bool(bad)):  # all of them leave the step out; losses and gradients are the same in all
                return self._skip(_of_some_rank(bad))
            before = map_tensors(lambda tensor: tensor.detach().clone(), self.moving())
        with steps_on(*given):
            result = step()
        what = wrong_with(result) if may_skip or self.looks else ""
        if not what:
            return result
        if may_skip:
            self.put_back(before)
            return self._skip(f"{places_of(given)}: {what}")
        said = "".join(check.said_of_inputs(index, batch) for check, index, batch in given)
        raise self.diverged(when, f"{what}.{said}".rstrip("."))

    def counted(self) -> dict[str, int]:
        """The number of steps that were left out, as an entry of rows and summaries; empty if none may be."""
        return {"skipped_steps": self.num_skipped} if self.at_most else {}

    def check_tensors(self, when: str, tensors: Mapping[str, Tensor]) -> None:
        """Check that tensors are finite.

        Raises:
            NonFiniteLoss: one is not; the message names it.
        """
        name = first_non_finite(tensors)
        if name:
            raise self.diverged(when, f"{name} holds NaN or infinity")

    def diverged(self, when: str, what: str) -> NonFiniteLoss:
        """The error that says when and what became NaN or infinite, and what to do."""
        rate = self.optimizer.param_groups[0]["lr"]
        left_out = f" {number_of(self.num_skipped, 'step')} had been left out." if self.num_skipped else ""
        return NonFiniteLoss(
            f"The {self.of} diverged {when}: {what}.{left_out} Lower the weights' learning rate (now {rate:.3g}) or "
            f"clip their gradient (now {self.clip}), or mend the data, or leave such steps out with skip_non_finite "
            f"(now {self.at_most}).{self.last_good()}"
        )

    def check_epoch(self, epoch: int, *, has_trained: bool) -> None:
        """Check, after an epoch, that a step of it was not left out.

        Raises:
            NonFiniteLoss: all were.
        """
        if self.num_skipped and not has_trained:
            raise self.diverged(f"in epoch {epoch}", "all its steps were left out")

    def _skip(self, what: str) -> None:
        self.num_skipped += 1
        self.say(f"A step is left out ({self.num_skipped} of at most {self.at_most}). {what[0].upper()}{what[1:]}.")


def _of_some_rank(bad: str) -> str:
    """What is wrong with the inputs of the first rank that has something to say."""
    told = ranks().each(bad)
    rank = next(rank for rank, words in enumerate(told) if words)
    return told[rank] if len(told) == 1 else f"{told[rank]} of those of rank {rank}"


def non_finite_of(numbers: Mapping[str, Tensor | float]) -> str:
    """The numbers that are NaN or infinite, in words; empty if all are finite."""
    values = ((name, float(number)) for name, number in numbers.items())
    return ", ".join(f"{name} = {value}" for name, value in values if not math.isfinite(value))
