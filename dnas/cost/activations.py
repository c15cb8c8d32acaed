"""How much memory the activations of a network take at their peak."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnas.cost.flops import Inputs, run_without_trace


def peak_activation_bytes(network: nn.Module, inputs: Inputs) -> int:
    """Bytes of inputs, outputs and whatever lives between them, where these are most; weights and buffers left out.

    Counted is what PyTorch holds in one forward pass without gradient, tensors that share memory once; what a kernel
    needs within itself is not seen. The network runs in its current mode, and a network on the 'meta' device is counted
    without computing anything, which may give a little more.

    Args:
        network: any module.
        inputs: as for `dnas.cost.count_flops`.

    Example:
        >>> import torch
        >>> layers = nn.Sequential(nn.Linear(4, 100, bias=False), nn.Linear(100, 2, bias=False)).eval()
        >>> peak_activation_bytes(layers, torch.zeros(1, 4))  # 4 inputs, which the caller holds, 100 and 2 outputs
        424
    """
    weights = {_key(tensor) for tensor in (*network.parameters(), *network.buffers())}
    living = _Living(weights)
    living.note(inputs)
    with living:
        run_without_trace(network, inputs)
    return living.peak


class _Living(TorchDispatchMode):
    """Adds up the memory of tensors that are alive, after each operation."""

    def __init__(self, ignored: set[int]):
        super().__init__()
        self.ignored = ignored
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def note(self, result: Any) -> None:
        """Count the tensors in a result, and those that are still there."""
        self._alive = {key: (one, size) for key, (one, size) in self._alive.items() if not one.expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in self.ignored:
                storage = tensor.untyped_storage()
                self._alive[_key(tensor)] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.note(result)
        return result


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
