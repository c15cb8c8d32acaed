"""Devices: by the names that users give them, and what the machine calls them."""

from __future__ import annotations

import re

import torch

from dnas.system.errors import UserError
from dnas.system.processor import processor_name


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


def device_name(device: torch.device) -> str:
    """What the machine calls a device, such as 'Intel(R) Xeon(R) CPU @ 2.20GHz'."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()
