"""The operators that a network runs one after the other, each kind of which can be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnas.core.batch import map_tensors, tensors_in
from dnas.cost.flops import Inputs
from dnas.shrinking.operators.table import name_of
from dnas.training.evaluate import call

# What an operator's time depends on: which operator it is, shapes and strides of its tensors, and its other arguments.
Signature = tuple[Any, ...]


@dataclass(frozen=True)
class Operation:
    """One call of an operator.

    Args:
        name: such as 'convolution'.
        signature: what its time depends on.
        block: name of the block that it is in; None outside.
    """

    name: str
    signature: Signature
    block: str | None


class Timed(Protocol):
    """Something that is measured in turns, such as `dnas.cost.stopwatch.Work`."""

    def turn(self) -> None: ...

    @property
    def milliseconds(self) -> float: ...


class OperationTimes:
    """Operators where networks run them, each kind once.

    Args:
        prepare: makes of an operator and its tensors something that is measured.
    """

    def __init__(self, prepare: Callable[[nn.Module, tuple[Tensor, ...]], Timed]) -> None:
        self._prepare = prepare
        self.works: dict[Signature, Timed] = {}

    def milliseconds(self, operation: Operation) -> float:
        """What it takes, once it was measured."""
        return self.works[operation.signature].milliseconds

    def of(self, network: nn.Module, example: Inputs, blocks: Sequence[str] = ()) -> list[Operation]:
        """The operators of one forward pass, without views, in order.

        Args:
            network: in eval mode.
            example: its inputs.
            blocks: names of modules whose operators are told from others.
        """
        recorder = _Recorder(self._note)
        with torch.no_grad(), _places(network, blocks, recorder), recorder:
            call(network, example)
        return recorder.found

    def _note(self, signature: Signature, func: Any, arguments: Any, keywords: Any) -> None:
        if signature not in self.works:
            operator = _Operator(func, map_tensors(Tensor.clone, arguments), map_tensors(Tensor.clone, keywords))
            self.works[signature] = self._prepare(operator, tuple(tensors_in((arguments, keywords))))


class _Operator(nn.Module):
    """An operator with all its arguments."""

    def __init__(self, func: Any, arguments: Any, keywords: Any) -> None:
        super().__init__()
        self._call = lambda: func(*arguments, **keywords)

    def forward(self, *inputs: Tensor) -> Any:
        return self._call()


class _Recorder(TorchDispatchMode):
    def __init__(self, note: Callable[[Signature, Any, Any, Any], None]) -> None:
        super().__init__()
        self._note = note
        self.found: list[Operation] = []
        self.block: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if not _is_view(func):
            signature = (str(func), _described(args), _described(keywords))
            self._note(signature, func, args, keywords)
            self.found.append(Operation(name_of(func), signature, self.block))
        return func(*args, **keywords)


def _is_view(func: Any) -> bool:
    """Whether the operator only looks at its argument in another way."""
    returned = func._schema.returns
    return bool(returned) and all(one.alias_info is not None and not one.alias_info.is_write for one in returned)


def _described(value: Any) -> Any:
    """Shapes, strides and types in the place of tensors; hashable."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(_described(part) for part in value)
    if isinstance(value, dict):
        return tuple((name, _described(part)) for name, part in value.items())
    return str(value)


@contextmanager
def _places(network: nn.Module, blocks: Sequence[str], recorder: _Recorder) -> Iterator[None]:
    """Within the block the recorder is told in which block of the network it is."""

    def enter(name: str | None) -> Callable[..., None]:
        def hook(*arguments: Any) -> None:
            recorder.block = name

        return hook

    handles = []
    for name in blocks:
        handles.append(network.get_submodule(name).register_forward_pre_hook(enter(name)))
        handles.append(network.get_submodule(name).register_forward_hook(enter(None)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
