"""The rows of each batch that one of several processes takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from dnas.core.batch import Batch, map_tensors, tensors_in
from dnas.data.batches import Batches
from dnas.data.carried import CarriedBatches, ContinuedBatches
from dnas.data.image_batches import ImageBatches
from dnas.distributed.equal import check_same
from dnas.distributed.ranks import own_rows, ranks
from dnas.system.errors import UserError


def rows_of(batches: Batches) -> Batches:
    """Batches of this rank's rows alone: all ranks' rows, one after another, are the batches.

    Raises:
        UserError: a state is carried from batch to batch, or a batch has fewer samples than there are ranks.
    """
    rank, size = ranks().rank, ranks().size
    if size == 1:
        return batches
    if isinstance(batches, ContinuedBatches | CarriedBatches):
        raise UserError(
            "Batches that continue each other, with a state from batch to batch, are taken by one process: start "
            "without torchrun or srun."
        )
    if isinstance(batches, ImageBatches):
        return batches.of_rank(rank, size)
    return RankRows(batches, rank, size)


def check_data(name: str, batches: Batches) -> None:
    """Check that the first batch is the same on all ranks, before each takes its rows.

    Raises:
        UserError: it is not.
    """
    if ranks().size > 1:
        batch = next(iter(batches.epoch(0)))
        # To five digits, since machines may round differently.
        sums = [f"{float(tensor.double().sum()):.5g}" for tensor in tensors_in((batch.inputs, batch.targets))]
        said = f"{len(batches)} batches, the first with {batch.num_samples} samples and sums {', '.join(sums)}"
        check_same(ranks(), f"batches ({name})", said)


class RankRows(Batches):
    """The rows of a rank, cut out of whole batches.

    Args:
        batches: whole batches, the same on all ranks.
        rank, size: number of the rank, and number of ranks.
    """

    def __init__(self, batches: Batches, rank: int, size: int) -> None:
        self.batches, self.rank, self.size = batches, rank, size

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The rows of each batch.

        Raises:
            UserError: a batch has fewer samples than there are ranks, or tensors without a row for each sample.
        """
        for batch in self.batches.epoch(epoch, start):
            if batch.carry is not None:
                raise UserError("A batch with a carried state is taken by one process: start without torchrun or srun.")
            check_enough(batch.num_samples, self.size)
            yield Batch(self._cut(batch.inputs, batch), self._cut(batch.targets, batch))

    def _cut(self, value: Any, batch: Batch) -> Any:
        count = batch.num_samples
        if isinstance(value, PackedSequence) or any(t.ndim == 0 or len(t) != count for t in tensors_in(value)):
            raise UserError(
                f"Several ranks each take their rows of a batch, so each of its tensors must have one row for each of "
                f"its {count} samples, as the first dimension, and packed sequences cannot be divided. Use one process."
            )
        rows = own_rows(count, self.rank, self.size)

        def cut(tensor: Tensor) -> Tensor:
            return tensor[rows]

        return map_tensors(cut, value)


def check_enough(num_samples: int, size: int) -> None:
    """Check that each rank gets a sample of a batch.

    Raises:
        UserError: there are more ranks than samples.
    """
    if num_samples < size:
        raise UserError(
            f"A batch has {num_samples} samples, fewer than the {size} ranks that share it: use a larger batch size, "
            "fewer processes, or leave a short last batch out (drop_last)."
        )
