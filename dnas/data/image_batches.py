"""Batches of samples in memory: shuffled, augmented where they are images, and normalised on the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from dnas.core.batch import Batch
from dnas.data.augmentation import Augmentation
from dnas.data.batches import Batches, check_start
from dnas.data.keyed_random import permutation, stream_key
from dnas.data.normalization import Normalization
from dnas.data.sample_set import SampleSet
from dnas.distributed.ranks import own_rows
from dnas.system.errors import UserError

# Numbers that keep the order and the augmentation of one seed and epoch apart.
_ORDER, _AUGMENTATION = 1, 2


class ImageBatches(Batches):
    """Batches of images, `inputs (batch, channels, height, width)` and `targets (batch,)` int64, or of any other set.

    The order depends on seed and epoch; the augmentation of an image depends on seed, epoch and the image's index in
    the set. Neither depends on the batch size, the device, or where an epoch was started.

    To evaluate a supernet use `shuffle=True`, `merge_last=True` and always `epoch(0)`: it uses the statistics of the
    batch, so batches need a mixture of classes (folders are ordered by class) and no batch may be tiny.

    Args:
        images: the set, of images or other arrays, on any device; batches are made on `device`.
        batch_size: samples per batch; if it exceeds the set, the whole set is one batch (`note` then says so).
        augmentation: of pixels; None for evaluation, and for all other arrays.
        normalization: maps pixels or numbers to inputs; measure it on the training part. None for tokens.
        seed: seed of the order and the augmentation; give each stream of a run its own.
        shuffle: whether every epoch has a new order; otherwise it is the set's order.
        drop_last: whether to leave out a last batch that would be short.
        merge_last: whether to add the images of a last batch that would be short to the batch before.
        device: device of the batches.
        dtype: type of the inputs.
        channels_last: memory format of the inputs; channels-last is faster for convolutions (on CPU about twice).

    Raises:
        UserError: there is no image, the batch size is below 1, `drop_last` and `merge_last` contradict each other, or
            the normalization is for another number of channels.
    """

    def __init__(
        self,
        images: SampleSet,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        normalization: Normalization | None,
        seed: int,
        shuffle: bool,
        drop_last: bool = False,
        merge_last: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
    ) -> None:
        if len(images) == 0:
            raise UserError(f"{images.name} has no images to make batches of.")
        if batch_size < 1:
            raise UserError(f"The batch size must be at least 1; got {batch_size}.")
        if drop_last and merge_last:
            raise UserError("drop_last leaves a short last batch out and merge_last keeps its images; choose one.")
        if normalization is not None and len(normalization.mean) != images.kind.in_channels:
            raise UserError(
                f"{images.name} has {images.kind.in_channels} channels, but the normalization is for "
                f"{len(normalization.mean)}; measure it on these images."
            )
        self.images = images
        self.batch_size = min(batch_size, len(images))
        self.note = (
            f"{images.name}: batch size {batch_size} lowered to {len(images)}, the number of samples."
            if batch_size > len(images)
            else ""
        )
        self.augmentation = augmentation
        self.normalization = normalization
        self.seed = seed
        self.shuffle = shuffle
        self.device = torch.device(device)
        self.dtype = dtype
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._ends = _batch_ends(len(images), self.batch_size, drop_last=drop_last, merge_last=merge_last)
        self._rank, self._num_ranks = 0, 1

    def of_rank(self, rank: int, num_ranks: int) -> Self:
        """The same batches, of which only this rank's images are made.

        Raises:
            UserError: a batch has fewer images than there are ranks.
        """
        fewest = min(self.batch_size, self._ends[-1] - self.batch_size * (len(self) - 1))
        if fewest < num_ranks:
            raise UserError(
                f"A batch of {self.images.name} has {fewest} of its {len(self.images)} images, fewer than the "
                f"{num_ranks} ranks that share it: use another batch size, or fewer processes."
            )
        own = copy.copy(self)
        own._rank, own._num_ranks = rank, num_ranks
        return own

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def num_samples(self) -> int:
        """Samples per epoch."""
        return self._ends[-1]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start` on.

        Raises:
            UserError: `start` is not 0 to the number of batches.
        """
        check_start(start, len(self))
        order = self.order(epoch)
        key = stream_key(self.seed, epoch, _AUGMENTATION)
        for at in range(start, len(self)):
            sample_N = order[at * self.batch_size : self._ends[at]]
            yield self._batch(sample_N[own_rows(len(sample_N), self._rank, self._num_ranks)], key)

    def order(self, epoch: int) -> Tensor:
        """Indices of the images in the order of an epoch, `(images,)` int64 on the device of the set."""
        if not self.shuffle:
            return torch.arange(len(self.images), device=self.images.device)
        return permutation(len(self.images), stream_key(self.seed, epoch, _ORDER), self.images.device)

    def _batch(self, sample_N: Tensor, key: int) -> Batch:
        inputs = self._moved(self.images.inputs[sample_N])
        targets = self._moved(self.images.targets[sample_N])
        draws = None if self.augmentation is None else self.augmentation.draw(key, self._moved(sample_N))
        if self.augmentation is not None and draws is not None:
            inputs = self.augmentation.move(inputs, draws)
        if self.normalization is not None:
            inputs = self.normalization(inputs, dtype=self.dtype)
        if self.augmentation is not None and draws is not None:
            inputs = self.augmentation.cut(inputs, draws)
        return Batch(inputs.contiguous(memory_format=self._format_of(inputs)), targets)

    def _format_of(self, inputs: Tensor) -> torch.memory_format:
        return self.memory_format if inputs.ndim == 4 else torch.contiguous_format

    def _moved(self, tensor: Tensor) -> Tensor:
        """The tensor on the batches' device; pinned memory lets a copy from the host run beside the compute."""
        if tensor.device.type == "cpu" and self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def _batch_ends(count: int, batch_size: int, *, drop_last: bool, merge_last: bool) -> list[int]:
    """The end of each batch; batch i starts at i * batch_size."""
    ends = list(range(batch_size, count + 1, batch_size))
    if ends[-1] == count or drop_last:
        return ends
    return [*ends[:-1], count] if merge_last else [*ends, count]
