"""The contract of every data source that gives batches."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from dnas.core.batch import Batch, tensors_in
from dnas.data.batches import Batches
from dnas.testing.require import require, same


def check_batches(batches: Batches, *, epochs: int = 2, most: int = 5) -> None:
    """Check the contract of every `Batches`, on the first batches of each epoch.

    - There is at least one batch in an epoch, and an epoch has as many as `len` says.
    - The same epoch gives the same batches when it is asked for again, whatever was drawn elsewhere in between.
    - `epoch(e, start=k)` gives those of `epoch(e)` without the first k; nothing is left at its end, and a start beyond
      it is refused.
    - Batches hold finite tensors, of inputs as many as of targets, and the global random state stays as it was.

    Args:
        batches: the data source to check.
        epochs: so many epochs are looked at.
        most: at most so many batches of each are compared.

    Raises:
        AssertionError: names the first point that does not hold.

    Example:
        >>> from dnas.data import IterableBatches
        >>> check_batches(IterableBatches([(torch.zeros(4, 2), torch.zeros(4))] * 3))
    """
    length = len(batches)
    require(length > 0, batches, "has no batch")
    for epoch in range(epochs):
        before = torch.get_rng_state()
        found = list(islice(batches.epoch(epoch), most))
        require(same(torch.get_rng_state(), before), batches, "changed the global random state")
        require(len(found) == min(length, most), batches, f"gives {len(found)} batches where its length is {length}")
        for batch in found:
            _check_batch(batches, batch)
        torch.rand(1)
        _check_again(batches, epoch, found)
    require(not list(batches.epoch(0, length)), batches, "gives batches after its last one")
    try:
        list(batches.epoch(0, length + 1))
    except ValueError:
        return
    raise AssertionError(f"{type(batches).__name__} takes a start beyond its last batch.")


def _check_batch(batches: Batches, batch: object) -> None:
    require(isinstance(batch, Batch), batches, f"gives a {type(batch).__name__}, not a dnas.Batch")
    assert isinstance(batch, Batch)
    tensors = [*tensors_in(batch.inputs), *tensors_in(batch.targets)]
    require(all(bool(tensor.isfinite().all()) for tensor in tensors), batches, "gives a number that is not finite")
    if isinstance(batch.inputs, Tensor) and isinstance(batch.targets, Tensor):
        alike = len(batch.inputs) == len(batch.targets)
        require(alike, batches, f"gives {len(batch.inputs)} inputs for {len(batch.targets)} targets")


def _check_again(batches: Batches, epoch: int, found: list[Batch]) -> None:
    for start in range(len(found)):
        again = list(islice(batches.epoch(epoch, start), len(found) - start))
        what = "when asked again" if start == 0 else f"from batch {start} on"
        require(_same(again, found[start:]), batches, f"gives other batches of epoch {epoch} {what}")


def _same(a: list[Batch], b: list[Batch]) -> bool:
    return same([(one.inputs, one.targets) for one in a], [(one.inputs, one.targets) for one in b])
