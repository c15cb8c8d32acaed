"""Candidates of a choice that are computed in a special way, and the weighted sum of candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.mixing import sum_of


class Zero(nn.Module):
    """The candidate 'none': it computes nothing and gives zeros of the input's shape, strided in space."""

    def __init__(self, stride: int = 1):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return torch.zeros_like(x)
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class SharedPrefix(nn.Module, ABC):
    """A candidate whose first part has no parameters, so that a cell computes it once for all edges of a state.

    `forward(x)` must equal `rest(prefix(x))`. Two candidates whose `prefix_key` is equal have equal prefixes.
    A cell calls `prefix` and `rest` directly, so forward hooks on the candidate itself do not fire there.
    """

    prefix_key: Hashable

    @abstractmethod
    def prefix(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def rest(self, x: Tensor) -> Tensor: ...

    def weighted_rest(self, x: Tensor, weight: Tensor) -> Tensor:
        """`weight * rest(x)` with a scalar weight, for candidates that can fold it into their last step."""
        return weight * self.rest(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.prefix(x))


def weighted_terms(
    candidates: Sequence[nn.Module] | nn.ModuleList,
    active: Sequence[int],
    values: Tensor,
    weighted: Callable[[nn.Module, Tensor], Tensor],
) -> Iterator[Tensor]:
    """`weighted(candidates[k], values[k])` for each active candidate that is not `Zero`.

    `Zero` adds nothing to the value and nothing to the gradient, so it is never computed.
    """
    for k in active:
        if not isinstance(candidates[k], Zero):
            yield weighted(candidates[k], values[k])


def add_up(terms: Iterator[Any]) -> Any:
    """The sum of the terms, tensors or structures of them; None if there is no term."""
    total, second = next(terms, None), next(terms, None)
    if total is None or second is None:
        return total
    if not isinstance(total, Tensor):
        return sum_of([total, second, *terms])
    total = total + second
    for term in terms:
        total += term  # in place: nobody else has seen this sum, and addition needs none of it for its gradient
    return total
