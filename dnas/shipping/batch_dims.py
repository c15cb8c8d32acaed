"""Where the batch is in a network's inputs, and samples of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dnas.core.batch import first_tensor, map_tensors, tensors_in
from dnas.core.described import described
from dnas.system.errors import UserError

# One dimension for all tensors of the inputs, or one for each in the structure of the inputs; None where there is none.
BatchDim = int | None | Sequence[Any] | Mapping[str, Any]
# The batch's dimension of each tensor of some inputs, in order; None for a tensor without.
Dims = tuple[int | None, ...]


def dims_of(example: Any, batch_dim: BatchDim = 0) -> Dims:
    """The batch's dimension of each tensor.

    A single number holds for the tensors that are as long there as the first one; the others have no batch.

    Raises:
        UserError: a tensor has no such dimension, tensors differ in their number of samples, or the structures differ.
    """
    if isinstance(batch_dim, int):
        count = _length(first_tensor(example), batch_dim, described(example))
        return tuple(
            batch_dim if x.ndim > batch_dim and x.shape[batch_dim] == count else None for x in tensors_in(example)
        )
    dims = tuple(_paired(example, batch_dim, example))
    lengths = {
        _length(x, dim, described(example)) for x, dim in zip(tensors_in(example), dims, strict=True) if dim is not None
    }
    if len(lengths) != 1:
        raise UserError(
            f"batch_dim={batch_dim!r} finds {sorted(lengths) or 'no'} samples in {described(example)}; expected one "
            "number for all tensors that have a batch."
        )
    return dims


def _paired(example: Any, batch_dim: Any, whole: Any) -> list[int | None]:
    if isinstance(example, Tensor) and (batch_dim is None or isinstance(batch_dim, int)):
        return [batch_dim]
    if isinstance(example, dict) and isinstance(batch_dim, Mapping) and set(example) == set(batch_dim):
        return [dim for name in example for dim in _paired(example[name], batch_dim[name], whole)]
    if isinstance(example, tuple | list) and isinstance(batch_dim, tuple | list) and len(example) == len(batch_dim):
        return [dim for pair in zip(example, batch_dim, strict=True) for dim in _paired(*pair, whole)]
    raise UserError(
        "batch_dim must be the dimension of the batch, such as 1 for (time, batch, ...), or one for each tensor in the "
        f"structure of the example, {described(whole)}; got {batch_dim!r}."
    )


def _length(tensor: Tensor, dim: int, example: str) -> int:
    if not 0 <= dim < tensor.ndim:
        raise UserError(f"batch_dim is {dim}, but a tensor of the example has {tensor.ndim} dimensions: {example}.")
    return tensor.shape[dim]


def count_of(inputs: Any, dims: Dims) -> int:
    """The number of samples."""
    return next(x.shape[dim] for x, dim in zip(tensors_in(inputs), dims, strict=True) if dim is not None)


def samples(inputs: Any, indices: Sequence[int], dims: Dims) -> Any:
    """Those samples, counted again from the first after the last; tensors without a batch stay as they are."""
    count = count_of(inputs, dims)
    chosen = torch.tensor([index % count for index in indices])
    each = iter(dims)

    def of_samples(x: Tensor) -> Tensor:
        dim = next(each)
        return x if dim is None else x.index_select(dim, chosen.to(x.device))

    return map_tensors(of_samples, inputs)
