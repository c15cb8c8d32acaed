"""A user's own module, given itself or by a function that makes it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dnas.core.described import described
from dnas.system.errors import UserError

# A module, or a function without arguments that makes one, such as its class.
OwnModule = nn.Module | Callable[[], nn.Module]


def made_model(model: OwnModule) -> nn.Module:
    """A module itself, or the one that a function makes.

    Raises:
        UserError: neither.
    """
    made = model() if callable(model) and not isinstance(model, nn.Module) else model
    if not isinstance(made, nn.Module):
        raise UserError(
            f"model must be a torch.nn.Module, or a function that makes one, such as its class; got {described(made)}."
        )
    return made
