"""From a network's outputs in training to one loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dnas.core.described import described
from dnas.system.errors import UserError
from dnas.task.base import Task
from dnas.task.classification import Classification


def split_auxiliary(outputs: Any, task: Task) -> tuple[Any, Any]:
    """A classifier's logits and those of its auxiliary head, which it returns as a pair in training; or None."""
    if isinstance(task, Classification) and isinstance(outputs, tuple) and len(outputs) == 2:
        return outputs
    return outputs, None


def total_loss(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    """A scalar loss itself, or the sum of named ones.

    Raises:
        UserError: the criterion returned neither.
    """
    terms = dict(value) if isinstance(value, Mapping) else {"loss": value}
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim != 0:
            raise UserError(
                f"The criterion must give a scalar tensor, or a dict of named ones; its {name!r} is {described(term)}."
            )
    if not terms:
        raise UserError("The criterion must give a scalar tensor, or a dict of named ones; it gave an empty dict.")
    return next(iter(terms.values())) if len(terms) == 1 else torch.stack(list(terms.values())).sum()
