"""The number of bytes that the operators of any computation read and write."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnas.cost.kernel_traffic import TRAFFIC


class TrafficCounter(TorchDispatchMode):
    """Counts within its block; `num_bytes` is the number so far.

    Each operator counts its inputs and outputs once, as if nothing stayed in a cache. Views and new tensors without
    values do not count. Of custom kernels only those of `dnas.kernels` are seen.

    Example:
        >>> import torch
        >>> x = torch.zeros(1000)
        >>> with TrafficCounter() as counter:
        ...     y = x + x[:1]  # reads 1000 numbers and one, writes 1000
        >>> counter.num_bytes
        8004
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_operators = 0
        self._kernels_before = TRAFFIC.num_bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of operators, and of all kernels since the counter was made."""
        return self._of_operators + TRAFFIC.num_bytes - self._kernels_before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if moves_values(func):
            tensors = [value for value in tree_leaves((args, kwargs, result)) if isinstance(value, Tensor)]
            self._of_operators += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def moves_values(func: Any) -> bool:
    """Whether an operator reads or writes values: neither a view nor a new tensor without values."""
    aliases = [result.alias_info for result in func._schema.returns]
    is_view = any(alias is not None and not alias.is_write for alias in aliases)
    return not is_view and not func.overloadpacket.__name__.startswith("empty")
