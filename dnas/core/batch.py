"""What one step of training sees: inputs, targets and, for recurrent models, a carried state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from dnas.system.errors import UserError


class Batch(NamedTuple):
    """One batch; `Batch(*pair)` makes it from an `(inputs, targets)` pair of a `DataLoader`.

    Args:
        inputs: a tensor or a packed sequence (the model is called as `model(inputs)`), a tuple or list
            (`model(*inputs)`) or a dict with string keys (`model(**inputs)`).
        targets: whatever the criterion takes as its second argument.
        carry: state from the previous batch, or None. If there is one, the model gets it as its last positional
            argument and returns `(outputs, new carry)`.
    """

    inputs: Any
    targets: Any
    carry: Any = None

    @property
    def num_samples(self) -> int:
        """Number of samples: length of the first input tensor, or the number of packed sequences."""
        inputs = self.inputs
        return int(inputs.batch_sizes[0]) if isinstance(inputs, PackedSequence) else first_tensor(inputs).shape[0]

    @property
    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with which the model is called, without the carry."""
        return arguments_of(self.inputs)


def arguments_of(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a model for a batch's inputs."""
    if isinstance(inputs, dict):
        return (), inputs
    if isinstance(inputs, tuple | list) and not isinstance(inputs, PackedSequence):
        return tuple(inputs), {}
    return (inputs,), {}


def first_tensor(inputs: Any) -> Tensor:
    """The first tensor in nested tuples, lists and dicts.

    Raises:
        UserError: the value holds no tensor.
    """
    found = next(tensors_in(inputs), None)
    if found is None:
        raise UserError(f"A batch's inputs must hold at least one tensor; got {type(inputs).__name__}.")
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dicts and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(part)
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type | nn.Module):
        # an object, such as outputs with `loss` and `logits`
        yield from (part for part in vars(value).values() if isinstance(part, Tensor))


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `function` applied to every tensor in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, PackedSequence):  # its lengths and orders stay where they are
        return value._replace(data=function(value.data))
    if isinstance(value, tuple) and hasattr(
        value, "_fields"
    ):  # a namedtuple, such as Batch, takes its parts one by one
        return type(value)(*(map_tensors(function, part) for part in value))
    if is_dataclass(value) and not isinstance(value, type):  # such as the outputs of models of transformers
        return replace(
            value, **{f.name: map_tensors(function, getattr(value, f.name)) for f in fields(value) if f.init}
        )
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(function, part) for part in value)
    if isinstance(value, dict):
        return {key: map_tensors(function, part) for key, part in value.items()}
    return value


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with every tensor in nested tuples, lists and dicts moved to `device`."""
    if isinstance(value, PackedSequence):
        return value.to(device=device)  # pyright: ignore[reportCallIssue] (the stub lacks it)
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)
