"""What a value is, in words for a message."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def described(value: Any) -> str:
    """'a tensor (8, 3) of torch.float32', or the kinds of what a tuple, list or dict holds."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(map(described, value)) or 'nothing'}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(f'{name!r}: {described(part)}' for name, part in value.items()) or 'nothing'}"
    return f"a {type(value).__name__}"
