"""What one step of training sees: inputs, targets and, for recurrent models, a carried state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch.

    Any `(inputs, targets)` pair that a `DataLoader` yields becomes one by `Batch(*pair)`.

    Args:
        inputs: a tensor (the model is called as `model(inputs)`), a tuple or list (`model(*inputs)`) or a dict with
            string keys (`model(**inputs)`).
        targets: whatever the criterion takes as its second argument.
        carry: state handed over from the previous batch, or None. With a carry the model is called with it as the
            last positional argument and returns `(outputs, new carry)`.
    """

    inputs: Any
    targets: Any
    carry: Any = None

    @property
    def num_samples(self) -> int:
        """Length of the first dimension of the first input tensor."""
        return first_tensor(self.inputs).shape[0]


def first_tensor(inputs: Any) -> Tensor:
    """The first tensor in nested tuples, lists and dicts.

    Raises:
        ValueError: there is none.
    """
    found = next(_tensors(inputs), None)
    if found is None:
        raise ValueError(f"A batch's inputs must hold at least one tensor; got {type(inputs).__name__}.")
    return found


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with every tensor in nested tuples, lists and dicts on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and hasattr(
        value, "_fields"
    ):  # a namedtuple, such as Batch, takes its parts one by one
        return type(value)(*(to_device(part, device) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(to_device(part, device) for part in value)
    if isinstance(value, dict):
        return {key: to_device(part, device) for key, part in value.items()}
    return value
