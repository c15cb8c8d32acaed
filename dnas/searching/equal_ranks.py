"""The ranks of a search hold the same supernet: made so at its start, and checked after each epoch."""

from __future__ import annotations

from hashlib import blake2b

from torch import Tensor

from dnas.core.batch import Batch, tensors_in
from dnas.data.batches import Batches
from dnas.distributed.ranks import ranks
from dnas.distributed.together import check_same
from dnas.searching.supernet import Supernet


def make_equal(supernet: Supernet) -> None:
    """Give all ranks the first one's weights, buffers and alphas.

    Raises:
        UserError: the ranks' models or decisions differ.
    """
    if ranks().size > 1:
        shapes = [(name, tuple(tensor.shape)) for name, tensor in _tensors(supernet).items()]
        check_same(ranks(), "models", digest(shapes))
        ranks().first(list(_tensors(supernet).values()))


def check_equal(supernet: Supernet, epoch: int) -> None:
    """Check that weights and alphas are the same bits on all ranks, and take the first one's buffers.

    Raises:
        UserError: they differ, as where machines of different kinds round differently.
    """
    if ranks().size > 1:
        moved = {**supernet.weights(), **supernet.alphas}
        check_same(ranks(), f"weights after epoch {epoch}", digest(*moved.values()))
        ranks().first(list(supernet.model.buffers()))


def check_data(name: str, batches: Batches) -> None:
    """Check that the first batch is the same on all ranks, before each takes its rows.

    Raises:
        UserError: it is not.
    """
    if ranks().size > 1:
        batch = next(iter(batches.epoch(0)))
        check_same(ranks(), f"data ({name}, {len(batches)} batches)", f"{len(batches)} batches, {_said_of(batch)}")


def digest(*values: object) -> str:
    """A short text that changes with any bit of tensors, or with the words for anything else."""
    found = blake2b(digest_size=6)
    for value in values:
        is_tensor = isinstance(value, Tensor)
        found.update(value.detach().cpu().contiguous().numpy().tobytes() if is_tensor else repr(value).encode())
    return found.hexdigest()


def _said_of(batch: Batch) -> str:
    """The samples, and what tells batches apart; inputs to five digits, as machines may round them differently."""
    sums = [f"{float(tensor.double().sum()):.5g}" for tensor in tensors_in((batch.inputs, batch.targets))]
    return f"the first with {batch.num_samples} samples and sums {', '.join(sums)}"


def _tensors(supernet: Supernet) -> dict[str, Tensor]:
    model = supernet.model
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **supernet.alphas}
