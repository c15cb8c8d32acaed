"""How much memory work takes, how much is available, and the largest batch that fits."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from dnas.system.errors import UserError

# Linux forgets a process's peak when 5 is written here (man 5 proc); elsewhere a peak counts from the process's start.
_CLEAR_REFS = Path("/proc/self/clear_refs")
# Share of the available memory that is left to everything that was not measured.
RESERVE = 0.1
# What torch says as a GPU's memory runs out: what was asked for, what is free, what tensors hold, and its own reserve.
_SIZE = r"([\d.]+) (bytes|KiB|MiB|GiB)"
_OF_A_GPU = (
    f"Tried to allocate {_SIZE}",
    f"of which {_SIZE} is free",
    f"{_SIZE} is allocated by PyTorch",
    f"{_SIZE} is reserved by PyTorch but unallocated",
)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_DATA_SHARE = 0.8  # of all memory that data may take


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from now on; outside Linux the peak of a process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access(_CLEAR_REFS, os.W_OK):
        _CLEAR_REFS.write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since it was reset: of the tensors on a GPU, elsewhere of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if Path("/proc/self/status").exists():
        # Not ru_maxrss, which a process inherits from the one that started it.
        return 1024 * _kibibytes("/proc/self/status", "VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def available_memory(device: torch.device) -> int:
    """Bytes that this process may hold in all: what it holds now plus what is free.

    On a GPU, PyTorch's own reserve counts as held; elsewhere limits of a container are not considered.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if not Path("/proc/meminfo").exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1024 * (_kibibytes("/proc/meminfo", "MemAvailable") + _kibibytes("/proc/self/status", "VmRSS"))


def share_that_fits(said: str) -> float:
    """Share, 0 to 0.9, of work that memory would hold which ran out of it; 0 where torch does not say enough.

    share = 0.9 (memory that there is) / (held + asked for), as if all that is held grew with the work. It is at most
    that: the work might have asked for more afterwards. On a GPU the numbers are those of the message.

    Args:
        said: what torch said as memory ran out.
    """
    on_cpu = re.search(r"tried to allocate (\d+) bytes", said)
    if on_cpu:
        cpu = torch.device("cpu")
        return _share(peak_memory(cpu) + int(on_cpu[1]), available_memory(cpu))
    found = [re.search(pattern, said) for pattern in _OF_A_GPU]
    if None in found:
        return 0.0
    asked, free, held, idle = (float(match[1]) * _UNITS[match[2]] for match in found if match)
    return _share(held + asked, held + idle + free)


def _share(needed: float, there_is: float) -> float:
    return min(0.9, (1 - RESERVE) * there_is / needed)


def most_memory() -> float:
    """Most bytes that this process may hold: all of the machine, or its limit; infinite if neither is known."""
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else float("inf")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return machine if limit == resource.RLIM_INFINITY else min(machine, limit)


def check_holds(num_bytes: int, what: str) -> None:
    """Check that memory can hold data of `num_bytes`, with a fifth of it left free.

    Raises:
        UserError: it cannot; the message says how much `what` takes and how much there is.
    """
    memory = most_memory()
    if num_bytes > _DATA_SHARE * memory:
        raise UserError(
            f"{what} take {num_bytes / 2**30:.1f} GiB, but there are {memory / 2**30:.1f} GiB of memory. "
            "Ask for smaller images or use fewer."
        )


def largest_batch(memory_at_two_sizes: Mapping[int, int], available: int) -> int:
    """The largest batch size that fits, by the straight line through the memory of two: fixed + per_image * size.

    Memory is filled by activations, which grow with the batch; weights and the process itself do not grow.

    Args:
        memory_at_two_sizes: batch size -> peak memory of a step in bytes, for two sizes.
        available: bytes that may be used.

    Returns:
        0 if not even one image fits.

    Raises:
        UserError: there are not two sizes of at least 1, or memory does not grow from one to the other.

    Example:
        >>> largest_batch({16: 300, 32: 500}, available=1000)
        72
    """
    sizes = sorted(memory_at_two_sizes)
    if len(sizes) != 2 or sizes[0] < 1:
        raise UserError(f"A line needs the memory of two batch sizes of at least 1; got {sizes}.")
    small, large = sizes
    growth = memory_at_two_sizes[large] - memory_at_two_sizes[small]
    if growth <= 0:
        raise UserError(
            f"The larger batch must take more memory; got {dict(memory_at_two_sizes)}: measure sizes further apart."
        )
    # In integers, so that a batch that fits exactly is not lost to rounding.
    return max(0, small + (available - memory_at_two_sizes[small]) * (large - small) // growth)


def memory_needed(memory_at_two_sizes: Mapping[int, int], batch_size: int) -> int:
    """Peak memory in bytes of a step with `batch_size` images, by the same line."""
    (small, at_small), (large, at_large) = sorted(memory_at_two_sizes.items())
    return at_small + (at_large - at_small) * (batch_size - small) // (large - small)


def check_batch_fits(memory_at_two_sizes: Mapping[int, int], available: int, batch_size: int) -> None:
    """Check that an untried batch size will fit into `available` bytes, with a tenth of them left free.

    Raises:
        UserError: it will not fit; the message says which size would.
    """
    if memory_at_two_sizes[max(memory_at_two_sizes)] <= memory_at_two_sizes[min(memory_at_two_sizes)]:
        return  # both are negligible beside the process itself
    usable = int((1 - RESERVE) * available)
    needed = memory_needed(memory_at_two_sizes, batch_size)
    if needed <= usable:
        return
    measured = ", ".join(f"{gibibytes(taken)} for {size}" for size, taken in sorted(memory_at_two_sizes.items()))
    fits = largest_batch(memory_at_two_sizes, usable)
    advice = f"batch_size {fits} would fit; or lower" if fits > 1 else "Lower"
    raise UserError(
        f"Out of memory: batch_size {batch_size} needs about {gibibytes(needed)} (measured: {measured}), and "
        f"{gibibytes(usable)} may be used. {advice} image_size, channels or cells. Gradients of smaller batches are "
        "not added up instead: batch norm would see other statistics."
    )


def gibibytes(count: float) -> str:
    """Bytes in words: '1.5 GiB'."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.0f} MiB"


def _kibibytes(path: str, name: str) -> int:
    """The number after `name:` in a file of the kernel."""
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
