"""Call a module with other tensors in place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def call_with(
    model: nn.Module, tensors: Mapping[str, Tensor], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Any:
    """`model(*arguments, **keywords)` with the given parameters and buffers in place of the model's own.

    A tensor that is used in several places is replaced in all of them. `torch.func.functional_call` is not used here:
    it replaces the tensors of a module that is registered under two names twice, and then leaves the given tensors in
    the model (torch 2.13).

    Args:
        model: any module.
        tensors: new tensors by their names in `named_parameters` and `named_buffers`; all others stay.
        arguments: positional arguments of the call.
        keywords: keyword arguments of the call.

    Raises:
        KeyError: no parameter or buffer has this name.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> call_with(nn.Sequential(layer, layer), {"0.weight": torch.tensor([[3.0]])}, (torch.ones(1),), {})
        tensor([9.])
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    given = {own[name]: tensor for name, tensor in tensors.items()}
    places = [
        (store, name, tensor)
        for module in model.modules()
        for store in (module._parameters, module._buffers)
        for name, tensor in store.items()
        if tensor is not None and tensor in given
    ]
    try:
        for store, name, tensor in places:
            store[name] = given[tensor]  # pyright: ignore[reportArgumentType] (a parameter's place takes any tensor)
        return model(*arguments, **keywords)
    finally:
        for store, name, tensor in places:
            store[name] = tensor  # pyright: ignore[reportArgumentType]
