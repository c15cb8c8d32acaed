"""Training mode, but for frozen parts that are in evaluation mode."""

from __future__ import annotations

from torch import nn


def set_training_mode(model: nn.Module) -> None:
    """Put a model into training mode, but for parts in evaluation mode whose weights are all frozen.

    The batch norm of a frozen backbone keeps its statistics so, and its dropout drops nothing.
    """
    frozen = [module for module in model.modules() if not module.training and _is_frozen(module)]
    kept = [part for module in frozen for part in module.modules() if not part.training]
    model.train()
    for part in kept:
        part.training = False


def _is_frozen(module: nn.Module) -> bool:
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)
