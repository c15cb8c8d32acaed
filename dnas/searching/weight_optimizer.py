"""How weights are trained: an optimizer, its learning rate over the progress, and the clipping of gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import Parameter, signature

import torch
from torch import nn

from dnas.core.schedule import Constant, Cosine, Schedule
from dnas.system.accepted import accept
from dnas.system.errors import UserError
from dnas.system.plain_data import BY_NAME, to_plain


class WeightOptimizer(ABC):
    """The optimizer of the weights of a search or a training. Implementations are frozen dataclasses.

    Each has a `clip`, the largest norm of the whole gradient (None for no clipping), and a `weight_decay`.
    """

    clip: float | None
    weight_decay: float

    @abstractmethod
    def build(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer at the start of the training."""

    @abstractmethod
    def lr_at(self, progress: float) -> float:
        """The learning rate at a progress in [0, 1]."""

    def assign_lr(self, optimizer: torch.optim.Optimizer, progress: float, factor: float = 1.0) -> None:
        """Set the learning rate of all parameter groups to `factor` times the one at a progress in [0, 1]."""
        for group in optimizer.param_groups:
            group["lr"] = factor * self.lr_at(progress)


@dataclass(frozen=True)
class WeightSGD(WeightOptimizer):
    """Stochastic gradient descent for the weights, with the settings of DARTS (Liu et al. 2019, appendix A.1).

    Args:
        lr: learning rate over the progress of the training; it changes once per epoch.
        momentum: in [0, 1).
        weight_decay: factor of the squared norm's gradient.
        nesterov: Nesterov's form of momentum.
        clip: largest norm of the whole gradient; None for no clipping.
    """

    lr: Schedule = Cosine(0.025, 0.001)
    momentum: float = 0.9
    weight_decay: float = 3e-4
    nesterov: bool = False
    clip: float | None = 5.0

    def __post_init__(self) -> None:
        accept(self)
        _check(self)
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum must be from 0 up to below 1; got {self.momentum}.")
        if self.nesterov and self.momentum == 0:
            raise UserError("nesterov is a form of momentum, which is 0: give a momentum such as 0.9, or leave it out.")

    def build(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            weights,
            lr=self.lr_at(0.0),
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    def lr_at(self, progress: float) -> float:
        return _value(self.lr, progress)


@dataclass(frozen=True)
class WeightAdamW(WeightOptimizer):
    """AdamW for the weights (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101), as transformers need it.

    Args:
        lr: learning rate over the progress of the training; it changes once per epoch. `Warmup` begins it low.
        betas: decay of the first and second moment, each in [0, 1).
        eps: is added to the root of the second moment.
        weight_decay: decoupled from the gradient: a step shrinks weights by 1 - lr * weight_decay.
        decay_all: whether biases and the scales of norms, which have at most one dimension, decay too.
        clip: largest norm of the whole gradient; None for no clipping.
    """

    lr: Schedule = Cosine(1e-3, 0.0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.05
    decay_all: bool = False
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        accept(self)
        _check(self)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas must be from 0 up to below 1; got {list(self.betas)}.")
        if not 0 < self.eps < math.inf:
            raise UserError(f"eps must be over 0; got {self.eps}.")

    def build(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        plain = [weight for weight in weights if self.decay_all or weight.ndim > 1]
        others = [weight for weight in weights if not self.decay_all and weight.ndim <= 1]
        groups = [{"params": plain, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.lr_at(0.0), betas=self.betas, eps=self.eps
        )

    def lr_at(self, progress: float) -> float:
        return _value(self.lr, progress)


@dataclass(frozen=True)
class OwnOptimizer(WeightOptimizer):
    """Any optimizer of PyTorch's interface, made by a function of your own; for Python.

    A run folder holds the name of the function alone: who goes on with a run gives the same one again.

    Args:
        make: gives the optimizer of a list of weights, with any parameter groups: `torch.optim.RMSprop`, or
            `lambda weights: torch.optim.AdamW(weights, lr=1e-3)`. Its step takes no closure.
        schedule: what the learning rate of each group, as the optimizer has it at the start, is multiplied by over the
            progress of the training; it changes once per epoch.
        clip: largest norm of the whole gradient; None for no clipping.

    Example:
        >>> RMSprop = OwnOptimizer(torch.optim.RMSprop, schedule=Cosine(1.0, 0.0))
        >>> optimizer = RMSprop.build([nn.Parameter(torch.ones(2))])
        >>> RMSprop.assign_lr(optimizer, 0.5)
        >>> round(optimizer.param_groups[0]["lr"], 6)
        0.005
    """

    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = field(metadata={BY_NAME: True})
    schedule: Schedule = Constant(1.0)
    clip: float | None = None
    weight_decay: float = field(default=0.0, init=False)  # what the optimizer has is not known before it is made

    def __post_init__(self) -> None:
        accept(self)
        _check_clip(self.clip)
        if not callable(self.make):
            raise UserError(
                f"make must be a function of a list of weights, such as torch.optim.RMSprop; got {self.make!r}."
            )
        _check_rate(self.schedule, "schedule")

    def __repr__(self) -> str:  # with the function's name, since its place in memory is another one when a run goes on
        return f"OwnOptimizer({to_plain(self)['init_args']})"

    def build(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = self.make(weights)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise UserError(f"make must give a torch.optim.Optimizer; it gave a {type(optimizer).__name__}.")
        closure = signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is Parameter.empty:
            raise UserError(
                f"{type(optimizer).__name__} calls the loss several times per step, by a closure, which is not "
                "given here: take an optimizer of one gradient per step, such as torch.optim.AdamW."
            )
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # the name that torch.optim.lr_scheduler gives it
        return optimizer

    def lr_at(self, progress: float) -> float:
        return _value(self.schedule, progress)

    def assign_lr(self, optimizer: torch.optim.Optimizer, progress: float, factor: float = 1.0) -> None:
        for group in optimizer.param_groups:
            group["lr"] = factor * self.lr_at(progress) * group["initial_lr"]


def _value(schedule: Schedule, progress: float) -> float:
    return float(schedule(torch.tensor(progress, dtype=torch.float64)))


def _check(optimizer: WeightSGD | WeightAdamW) -> None:
    _check_rate(optimizer.lr, "lr of the weights")
    if not 0 <= optimizer.weight_decay < math.inf:
        raise UserError(f"weight_decay of the weights must be 0 or more; got {optimizer.weight_decay}.")
    _check_clip(optimizer.clip)


def _check_rate(schedule: Schedule, name: str) -> None:
    for end, progress in (("start", 0.0), ("end", 1.0)):
        value = _value(schedule, progress)
        if not 0 <= value < math.inf:
            raise UserError(f"{name} must be 0 or more; at the {end} it is {value:g}.")


def _check_clip(clip: float | None) -> None:
    if clip is not None and not clip > 0:
        raise UserError(f"clip is a largest gradient norm and must be over 0, or null for none; got {clip}.")
