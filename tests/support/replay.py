"""A recorder that behaves on the CPU as a CUDA graph does on a GPU.

While it records, every operator runs and is kept with the very tensors that it read and wrote; then all that the step
changes is put back. A replay runs the operators again on the same memory. So whatever a step reads on the host (a
number, a list) stays as it was when it was recorded, new tensors live at one place for good, and an operator that waits
for the device (`.item()`) is refused, as a capture would refuse it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnas.searching.capture import Recorder

T = TypeVar("T")
# These read a value on the host.
WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.is_nonzero", "aten.masked_select")


class Call(NamedTuple):
    operator: Any
    arguments: Any
    keywords: Any
    new: tuple[Tensor | None, ...]  # results in memory of their own; None for views and changed arguments


class Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if str(func).startswith(WAITING):
            raise RuntimeError(f"{func} waits for the device")
        results = func(*args, **kwargs)
        places = {place(tensor) for tensor in tensors((args, kwargs))}
        new = tuple(None if place(tensor) in places else tensor for tensor in tensors(results))
        self.calls.append(Call(func, args, kwargs, new))
        return results


class Replayed(Recorder):
    """Records in this way.

    Args:
        state: what a step changes.
        generators: whose random numbers it draws.
    """

    def __init__(
        self, state: Callable[[], Sequence[Tensor]], generators: Callable[[], Sequence[torch.Generator]] = list
    ) -> None:
        self.state, self.generators = state, generators
        self.num_replays = 0

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        state = [tensor.detach() for tensor in self.state()]
        before = [tensor.clone() for tensor in state]
        random = [(generator, generator.get_state()) for generator in self.generators()]
        with Recording() as recording:
            result = work()
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        for generator, drawn in random:
            generator.set_state(drawn)

        def replay() -> None:
            self.num_replays += 1
            with torch.no_grad():
                for call in recording.calls:
                    found = tensors(call.operator(*call.arguments, **call.keywords))
                    for kept, tensor in zip(call.new, found, strict=True):
                        if kept is not None:
                            kept.detach().copy_(tensor)

        return result, replay


def tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
