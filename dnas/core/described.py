"""What a value is, in words for a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def described(value: Any) -> str:
    """'a tensor (8, 3) of torch.float32', or what a tuple, list or dict holds."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, PackedSequence):
        return f"a packed sequence of {described(value.data)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of ({', '.join(map(described, value)) or 'nothing'})"
    if isinstance(value, Mapping):
        parts = ", ".join(f"{name!r}: {described(part)}" for name, part in value.items())
        return f"a {type(value).__name__} of {{{parts}}}"
    return "None" if value is None else f"a {type(value).__name__}"
