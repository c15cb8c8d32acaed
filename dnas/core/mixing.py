"""Weighted sums of what candidates give out: tensors, or tuples, lists, dicts and packed sequences of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def scaled(weight: Tensor, output: Any) -> Any:
    """`weight * output`, entry by entry; whole numbers, truth values and None stay as they are.

    Args:
        weight: a scalar.
        output: output of a candidate.
    """
    if isinstance(output, Tensor):
        return weight * output if _mixes(output) else output
    return _rebuilt(output, [scaled(weight, part) for part in _parts(output)])


def sum_of(outputs: Sequence[Any]) -> Any:
    """The sum of outputs of one structure, entry by entry; what is no floating-point tensor is that of the first."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return sum(outputs[1:], start=first) if _mixes(first) else first
    return _rebuilt(first, [sum_of(parts) for parts in zip(*map(_parts, outputs), strict=True)])


def shifted(output: Any, number: Tensor | None) -> Any:
    """`output + number`, entry by entry; whole numbers, truth values and None stay as they are, and all if it is None.

    Args:
        output: output of a candidate.
        number: a scalar.
    """
    if number is None:
        return output
    if isinstance(output, Tensor):
        return output + number if _mixes(output) else output
    return _rebuilt(output, [shifted(part, number) for part in _parts(output)])


def structure(output: Any) -> Any:
    """What must be equal between candidates of one choice: kinds of containers, names, shapes and types."""
    if isinstance(output, Tensor):
        return tuple(output.shape), output.dtype
    if isinstance(output, PackedSequence):
        return PackedSequence, structure(output.data), output.batch_sizes.tolist()
    names = tuple(output) if isinstance(output, dict) else ()
    return type(output), names, tuple(structure(part) for part in _parts(output))


def unmixable(output: Any) -> Any:
    """The first part of a candidate's output that is no tensor, container of tensors, number, text or None; or None."""
    if output is None or isinstance(output, Tensor | bool | int | float | str):
        return None
    if not isinstance(output, tuple | list | dict | PackedSequence):
        return output
    return next((bad for bad in map(unmixable, _parts(output)) if bad is not None), None)


def _mixes(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _parts(output: Any) -> list[Any]:
    if isinstance(output, PackedSequence):
        return [output.data]
    if isinstance(output, dict):
        return list(output.values())
    return list(output) if isinstance(output, tuple | list) else []


def _rebuilt(output: Any, parts: Sequence[Any]) -> Any:
    if isinstance(output, PackedSequence):
        return output._replace(data=parts[0])
    if isinstance(output, dict):
        return dict(zip(output, parts, strict=True))
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*parts)
    return type(output)(parts) if isinstance(output, tuple | list) else output
