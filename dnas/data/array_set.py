"""Arrays with targets of any kind, held in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dnas.data.sample_kind import SampleKind
from dnas.data.sample_set import SampleSet
from dnas.system.errors import UserError


@dataclass(frozen=True)
class ArraySet(SampleSet):
    """Tables, signals, texts as numbers, or images, with targets of any kind.

    Args:
        arrays: `(samples, ...)`: uint8 pixels, float32 numbers or int64 tokens.
        wanted: `(samples, ...)`: the targets, int64 classes or float32 numbers.
        like: what they are like.
        name: name of the set in messages.
        paths: origin of each sample, for messages and lists; made up from `name` if left out.

    Raises:
        UserError: the arrays are not of this kind, or not equally long.
    """

    arrays: Tensor
    wanted: Tensor
    like: SampleKind
    name: str
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.paths:
            object.__setattr__(self, "paths", tuple(f"{self.name}[{i}]" for i in range(len(self.arrays))))
        is_whole = len(self.arrays) == len(self.wanted) == len(self.paths)
        shapes = (tuple(self.arrays.shape[1:]), tuple(self.wanted.shape[1:]))
        if not is_whole or shapes != (self.like.shape, self.like.target_shape):
            raise UserError(
                f"{self.name}: {len(self.arrays)} inputs of shape {shapes[0]} and {len(self.wanted)} targets of shape "
                f"{shapes[1]}; expected equally many, of shapes {self.like.shape} and {self.like.target_shape}."
            )

    @property
    def inputs(self) -> Tensor:
        return self.arrays

    @property
    def targets(self) -> Tensor:
        return self.wanted

    @property
    def kind(self) -> SampleKind:
        return self.like

    def subset(self, indices: Tensor, *, name: str) -> ArraySet:
        at = indices.to(self.device)
        paths = tuple(self.paths[i] for i in indices.tolist())
        return ArraySet(self.arrays[at], self.wanted[at], self.like, name, paths)

    def to(self, device: torch.device | str) -> ArraySet:
        return replace(self, arrays=self.arrays.to(device), wanted=self.wanted.to(device))
