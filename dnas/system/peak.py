"""The peak rates of a machine: operations in a large matrix product, bytes in a large copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Large enough to reach the peak rate, small enough to take a second on two CPU cores.
_SIZE = {"cpu": 2048, "cuda": 8192}
_COPIED = {"cpu": 2**26, "cuda": 2**28}  # numbers of 4 bytes; far more than any cache holds


@dataclass(frozen=True)
class Peak:
    """The highest rates that were measured.

    Args:
        flops_per_second: FLOPs per second of a product of two large square matrices of `dtype`; a multiply-add is 2.
        bytes_per_second: rate of a copy within the device's memory; bytes read and bytes written count together.
        size: rows and columns of the matrices.
        dtype: type of their entries.
    """

    flops_per_second: float
    bytes_per_second: float
    size: int
    dtype: str


def measure_peak(device: torch.device, *, dtype: torch.dtype = torch.float32, repeats: int = 5) -> Peak:
    """Measure the rates of `device`: the best of `repeats` runs, after one that does not count.

    The product is computed as `torch.mm` and as a 1x1 convolution, and the faster one counts. The two may be allowed
    different precisions: on a GPU convolutions use TF32 unless that is switched off, `torch.mm` does not. The CUDA
    path has not been measured on a GPU yet.

    Args:
        dtype: type of the matrices, such as bfloat16 for a search under autocast.
    """
    size = _SIZE.get(device.type, _SIZE["cpu"])
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    image = a.t().reshape(1, size, size // 32, 32).contiguous(memory_format=torch.channels_last)
    kernel = b.reshape(size, size, 1, 1)
    product = min(
        _best_seconds(lambda: torch.mm(a, b), device, repeats),
        _best_seconds(lambda: F.conv2d(image, kernel), device, repeats),
    )
    source = torch.zeros(_COPIED.get(device.type, _COPIED["cpu"]), device=device)
    target = torch.empty_like(source)
    copy = _best_seconds(lambda: target.copy_(source), device, repeats)
    num_bytes = 2 * source.numel() * source.element_size()
    return Peak(2 * size**3 / product, num_bytes / copy, size, str(dtype).removeprefix("torch."))


def _best_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    with torch.no_grad():
        measured_seconds(work, device)
        return min(measured_seconds(work, device) for _ in range(repeats))


def measured_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes, including the work that it leaves to the device."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
