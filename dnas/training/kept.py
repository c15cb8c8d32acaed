"""Which weights a training ends with: the last ones, their means over the steps, or the best on validation data."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dnas.system.errors import UserError
from dnas.task.measurement import Measured


class KeptWeights:
    """Decides after each epoch which weights a training will end with.

    Args:
        network: the network that is trained.
        weights: those of its parameters that are trained.
        best: whether the training ends with the weights of the epoch with the best validation value, the earlier one of
            two alike; otherwise with those of the last epoch.
        average_after: weights are averaged over the steps (Polyak and Juditsky 1992,
            https://doi.org/10.1137/0330046) from the epoch on in which the validation value is worse than the best of
            all but the last `average_after` epochs (Merity et al. 2017, https://arxiv.org/abs/1708.02182); None for
            never. From then on the means are what is measured and kept, and training goes on from the last weights.

    Raises:
        UserError: weights are to be averaged in a network with running statistics, which are those of other weights.
    """

    def __init__(
        self, network: nn.Module, weights: Sequence[nn.Parameter], *, best: bool, average_after: int | None = None
    ) -> None:
        if average_after is not None and (name := _with_running_statistics(network)):
            raise UserError(
                f"{name} has running statistics, which would not fit averaged weights: leave averaging out, or use a "
                "norm without them, such as LayerNorm."
            )
        self.network, self.weights = network, list(weights)
        self.keeps_best, self.average_after = best, average_after
        self.values: list[float] = []  # the deciding validation value after each epoch
        self.averaged_from: int | None = None  # the first epoch, from 1 up, whose weights are averaged
        self.means: list[Tensor] = []
        self.num_averaged = 0
        self.best_value: float | None = None
        self.best_state: dict[str, Any] = {}

    def step_taken(self) -> None:
        """Add the weights after a step to their means, if they are averaged."""
        if self.averaged_from is None:
            return
        self.num_averaged += 1
        # The first step is left out of the mean, as by torch.optim.ASGD (with t0 = 0), which the official code uses.
        share = 1 / max(self.num_averaged - 1, 1)
        with torch.no_grad():
            for mean, weight in zip(self.means, self.weights, strict=True):
                mean.lerp_(weight, share)

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Within the block, the network has the weights that would be kept now."""
        if self.averaged_from is None:
            yield
            return
        last = [weight.detach().clone() for weight in self.weights]
        _copy(self.means, self.weights)
        try:
            yield
        finally:
            _copy(last, self.weights)

    def epoch_measured(self, measured: Measured) -> None:
        """Take in the validation value of an epoch, with the weights `in_network`."""
        self.values.append(measured.value)
        if self.keeps_best and (self.best_value is None or measured.is_better(self.best_value)):
            self.best_value, self.best_state = measured.value, copy.deepcopy(self.network.state_dict())

    def epoch_ended(self, measured: Measured) -> None:
        """Begin to average, if the validation value has stalled."""
        if self.averaged_from is None and self._has_stalled(measured):
            self.averaged_from = len(self.values) + 1
            self.means = [weight.detach().clone() for weight in self.weights]

    def _has_stalled(self, measured: Measured) -> bool:
        """Whether the last value is worse than the best of all values except itself and the `average_after` before."""
        patience = self.average_after
        if patience is None or len(self.values) <= patience + 1:
            return False
        pick = max if measured.better == "higher" else min
        before = pick(self.values[: -patience - 1])
        return measured.value != before and not measured.is_better(before)

    def load_final(self) -> None:
        """Give the network the weights that the training ends with."""
        if self.keeps_best and self.best_state:
            self.network.load_state_dict(self.best_state)
        elif self.num_averaged:
            _copy(self.means, self.weights)

    # Checkpoints

    def state(self) -> dict[str, Any]:
        return {
            "values": list(self.values),
            "averaged_from": self.averaged_from,
            "means": self.means,
            "num_averaged": self.num_averaged,
            "best_value": self.best_value,
            "best_state": self.best_state,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back a state; an empty one is that of a checkpoint from before there was one."""
        if not state:
            return
        self.values = [float(value) for value in state["values"]]
        self.averaged_from, self.num_averaged = state["averaged_from"], int(state["num_averaged"])
        self.means = list(state["means"])
        if self.averaged_from is not None and [m.shape for m in self.means] != [w.shape for w in self.weights]:
            raise ValueError("the means of its weights have other shapes than the weights")
        self.best_value, self.best_state = state["best_value"], dict(state["best_state"])


def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for mine, theirs in zip(target, source, strict=True):
            mine.copy_(theirs)


def _with_running_statistics(network: nn.Module) -> str:
    """Name of the first module that has running statistics; empty if there is none."""
    found = (
        name or type(module).__name__
        for name, module in network.named_modules()
        if getattr(module, "running_mean", None) is not None
    )
    return next(found, "")
