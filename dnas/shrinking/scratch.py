"""A network with new weights, trained with as much compute as the original and its fine-tuning took."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from torch import nn

from dnas.system.errors import UserError
from dnas.system.random_state import seeded
from dnas.training.settings import RetrainSettings


def with_new_weights(network: nn.Module, seed: int) -> None:
    """Draws all weights anew, in place, by the `reset_parameters` of the modules that hold them.

    Raises:
        UserError: a module holds weights and has no `reset_parameters`.
    """
    with seeded(seed):
        for name, module in network.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif any(True for _ in module.parameters(recurse=False)):
                raise UserError(
                    f"{name or 'the model'} ({type(module).__name__}) has weights of its own and no reset_parameters()"
                )


def with_same_compute(
    settings: RetrainSettings, *, epochs: int, fine_tuning: int, original_flops: float, flops: float
) -> RetrainSettings:
    """The settings of a training that takes the FLOPs of the original's training and of the fine-tuning.

    epochs = ceil(original epochs * original FLOPs / FLOPs) + epochs of fine-tuning  ('Scratch-B' of Liu et al. 2019,
    https://arxiv.org/abs/1810.05270, section 3, which leaves the fine-tuning out)

    Args:
        settings: how it is trained.
        epochs: that the original was trained for.
        fine_tuning: epochs of fine-tuning.
        original_flops, flops: of one forward pass of both networks.

    Example:
        >>> with_same_compute(RetrainSettings(), epochs=10, fine_tuning=5, original_flops=8, flops=2).epochs
        45
    """
    return replace(settings, epochs=ceil(epochs * original_flops / flops) + fine_tuning)
