"""Call a module with other tensors in place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call_with(
    model: nn.Module, tensors: Mapping[str, Tensor], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Any:
    """`model(*arguments, **keywords)` with these parameters and buffers, by name; afterwards it has its own again.

    `torch.func.functional_call` replaces what a module registered under two names holds twice, and so puts the given
    tensors back where its own should be (torch 2.13); a tensor that stands in two modules it replaces in both. Here
    every place is replaced once.

    Args:
        model: any module.
        tensors: names as in `named_parameters` and `named_buffers`; the others stay.
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
    places = _places(model)
    everywhere = {place: tensor for name, tensor in tensors.items() for place in places[name]}
    return functional_call(model, everywhere, arguments, dict(keywords), tie_weights=False)


def _places(model: nn.Module) -> dict[str, list[str]]:
    """For each name of a parameter or buffer all names of its tensor, each module under its first name only."""
    by_tensor: dict[Tensor, list[str]] = {}
    for prefix, module in model.named_modules():
        own = chain(
            module.named_parameters(prefix, recurse=False, remove_duplicate=False),
            module.named_buffers(prefix, recurse=False, remove_duplicate=False),
        )
        for name, tensor in own:
            by_tensor.setdefault(tensor, []).append(name)
    return {name: names for names in by_tensor.values() for name in names}
