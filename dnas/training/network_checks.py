"""Properties of a network that are determined before and during its training."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from dnas.system.random_state import seeded
from dnas.training.evaluate import call_carried, evaluation_mode, in_format


def takes_channels_last(network: nn.Module, inputs: Any, carry: Any = None) -> bool:
    """Whether the network computes on channels-last images; one that flattens with `x.view(len(x), -1)` does not.

    This is tested by one forward pass in evaluation mode, which has no lasting effect.
    """
    try:
        with evaluation_mode(network), torch.no_grad(), seeded(0):
            call_carried(network, in_format(inputs, torch.channels_last), carry)
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        return False
    return True


def digest_of_modules(network: nn.Module) -> str:
    """A number that changes with the name or class of any module within the network.

    Weights alone do not distinguish ReLU from tanh, which another architecture may have kept.
    """
    classes = [(name, type(module).__name__) for name, module in network.named_modules() if name]
    return hashlib.sha256(repr(classes).encode()).hexdigest()


def digest_of_weights(network: nn.Module) -> str:
    """A number that changes with any weight or buffer."""
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        if isinstance(tensor, Tensor):
            plain = tensor.detach().cpu().contiguous()
            found.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            found.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
