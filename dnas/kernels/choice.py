"""Which kernels a device has."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch

from dnas.kernels import compiled
from dnas.kernels.cpu import CpuKernels
from dnas.kernels.devices import Kernels
from dnas.kernels.gpu import TritonKernels


def kernels_on(device: torch.device) -> Kernels | None:
    """The kernels of a device, if it has some here."""
    if why_none_on(device.type) is not None:
        return None
    return TritonKernels(device) if device.type == "cuda" else CpuKernels()


@cache
def why_none_on(device_type: str) -> str | None:
    """Why such a device has no kernels here, as the end of a sentence; None if it has some."""
    if device_type == "cpu":
        return compiled.why_not()
    if device_type != "cuda":
        return f"there are none for {device_type}"
    missing = importlib.util.find_spec("triton") is None
    return "Triton is not installed; it comes with PyTorch for CUDA on Linux" if missing else None
