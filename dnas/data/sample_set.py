"""Samples and their targets in memory: what splits, batches and jobs ask of any data set."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from dnas.data.sample_kind import SampleKind


class SampleSet(ABC):
    """Samples in memory, on any device: `ImageSet`, images with a class each, or `ArraySet`, all other arrays."""

    name: str
    paths: tuple[str, ...]

    @property
    @abstractmethod
    def inputs(self) -> Tensor:
        """`(samples, ...)`: uint8 pixels, float32 numbers or int64 tokens."""

    @property
    @abstractmethod
    def targets(self) -> Tensor:
        """`(samples, ...)`: int64 classes, or float32 numbers."""

    @property
    @abstractmethod
    def kind(self) -> SampleKind:
        """What the samples are like."""

    @property
    def strata(self) -> Tensor:
        """`(samples,)` int64, by which splits are stratified: the class of each sample, 0 where there is none."""
        if self.kind.targets == "class":
            return self.targets
        return torch.zeros(len(self), dtype=torch.int64, device=self.device)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The names of the strata, for messages."""
        return self.kind.names if self.kind.targets == "class" else ("all samples",)

    @abstractmethod
    def subset(self, indices: Tensor, *, name: str) -> SampleSet:
        """The samples at `indices`, in that order, under another name; they keep their paths."""

    @abstractmethod
    def to(self, device: torch.device | str) -> SampleSet:
        """The same set on `device`."""

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @property
    def num_bytes(self) -> int:
        return self.inputs.nbytes


def to_device_if_it_fits(samples: SampleSet, device: torch.device, *, share: float = 0.25) -> SampleSet:
    """The set on `device` if it takes at most `share` (0 to 1) of the memory that is free there, else unchanged.

    Free memory is only checked on CUDA devices; elsewhere the set is already in the same memory, or is moved.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if samples.num_bytes > share * free:
            return samples
    return samples.to(device)
