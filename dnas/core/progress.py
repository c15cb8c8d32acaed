"""Modules whose forward pass depends on how far a search has come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnas.core.schedule import Schedule


class FollowsProgress(nn.Module):
    """A module with the search's progress, from 0 to 1, as the buffer `progress`.

    The buffer is a 0-dim tensor that is written in place, so that a captured graph sees the change. It is not part of
    the state_dict: the code that trains the module sets it before each step.

    Example:
        >>> class Faded(FollowsProgress):
        ...     def forward(self, x: Tensor) -> Tensor:
        ...         return (1 - self.progress) * x
        >>> faded = Faded()
        >>> set_progress(faded, 0.25)
        >>> faded(torch.ones(2))
        tensor([0.7500, 0.7500])
    """

    progress: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("progress", torch.zeros(()), persistent=False)


def set_progress(model: nn.Module, progress: Tensor | float) -> None:
    """Write the progress, from 0 to 1, into every module of `model` that follows it.

    Args:
        model: any module; nothing happens if no module in it follows the progress.
        progress: a number, or a scalar tensor on any device (if it is on the model's device, nothing synchronises).
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, FollowsProgress):
                module.progress.copy_(progress) if isinstance(progress, Tensor) else module.progress.fill_(progress)


class Scheduled(FollowsProgress):
    """A value that changes with the progress: calling it gives `schedule(progress)`, a 0-dim tensor.

    Modules that share a value hold the same `Scheduled`, so that there is only one buffer to write.
    """

    def __init__(self, schedule: Schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self) -> Tensor:
        return self.schedule(self.progress)

    def extra_repr(self) -> str:
        return repr(self.schedule)
