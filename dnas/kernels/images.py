"""Kernels on the images of a batch: in several threads, on arrays of numpy that share the tensors' memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.kernels.compiled import vector_bytes

Array = np.ndarray[Any, Any]


def flat(x: Tensor) -> Array:
    """Images (batch, channels, height, width) in channels-last memory as one long array."""
    return x.permute(0, 2, 3, 1).reshape(-1).numpy()


def address(array: Array) -> int:
    """Where the array begins in memory."""
    return array.ctypes.data


@cache
def lanes(channels: int, itemsize: int) -> tuple[np.floating[Any], ...]:
    """Zeros of so many bytes, as many as the longest vector that divides the channels, a multiple of 4, has numbers."""
    longest = vector_bytes() // itemsize
    zero = np.float32(0) if itemsize == 4 else np.float64(0)
    return (zero,) * next(count for count in (16, 12, 8, 4) if count <= longest and channels % count == 0)


def in_parts(work: Callable[[int, int], Any], count: int) -> list[Any]:
    """`work(begin, end)` on equal parts of 0 to `count`, in as many threads as PyTorch uses, this one included.

    PyTorch's own threads wait meanwhile; for a while after their last work they wait by spinning, beside ours.
    """
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        return [work(0, count)]
    ends = [count * part // threads for part in range(threads + 1)]
    first, *rest = pairwise(ends)
    others = [_pool(threads - 1).submit(work, *part) for part in rest]
    try:
        return [work(*first), *(other.result() for other in others)]
    finally:  # also where a part failed or was interrupted: the others work on arrays of the caller
        wait(others)


def summed(parts: Iterable[Array]) -> Array:
    """The sum of the parts' results, in their order."""
    return reduce(np.add, parts)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dnas kernels")


# The threads of a pool do not live on in a child process.
os.register_at_fork(after_in_child=_pool.cache_clear)
