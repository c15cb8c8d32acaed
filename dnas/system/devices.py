"""Devices by the names that users give them."""

from __future__ import annotations

import re

import torch

from dnas.system.errors import UserError


def named_device(name: str) -> torch.device:
    """The device that a setting names: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:1'.

    Raises:
        UserError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UserError(f"Unknown device {name!r}; expected auto, cpu, cuda or cuda:INDEX.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device {name!r}: {torch.cuda.device_count()} GPUs were found. Use --device cpu.")
    return device
