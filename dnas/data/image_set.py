"""Labelled images of one size, held in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dnas.data.sample_kind import SampleKind
from dnas.data.sample_set import SampleSet
from dnas.system.errors import UserError


@dataclass(frozen=True)
class ImageSet(SampleSet):
    """Labelled images of one size, in memory, on any device.

    Args:
        images: `(images, channels, height, width)` uint8, 0 to 255.
        labels: `(images,)` int64, 0 to number of classes - 1, on the device of `images`.
        class_names: the name of each class, in the order of the labels.
        name: name of the set in messages.
        paths: origin of each image, for messages and lists; made up from `name` if left out.

    Raises:
        UserError: shapes, types or labels do not fit together.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    name: str
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise UserError(
                f"{self.name}: images must be (images, channels, height, width) of uint8; "
                f"got {tuple(self.images.shape)} of {self.images.dtype}."
            )
        if self.labels.shape != (len(self.images),) or self.labels.dtype != torch.int64:
            raise UserError(
                f"{self.name}: labels must be ({len(self.images)},) of int64, one for each image; "
                f"got {tuple(self.labels.shape)} of {self.labels.dtype}."
            )
        if len(self.labels):
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.class_names):
                raise UserError(
                    f"{self.name}: labels go from {low} to {high}, but there are {len(self.class_names)} class names; "
                    f"expected labels from 0 to {len(self.class_names) - 1}."
                )
        if not self.paths:
            object.__setattr__(self, "paths", tuple(f"{self.name}[{i}]" for i in range(len(self.images))))
        if len(self.paths) != len(self.images):
            raise UserError(f"{self.name}: {len(self.images)} images, but {len(self.paths)} paths; expected one each.")

    @property
    def inputs(self) -> Tensor:
        return self.images

    @property
    def targets(self) -> Tensor:
        return self.labels

    @property
    def kind(self) -> SampleKind:
        return SampleKind(self.class_names, tuple(self.images.shape[1:]))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def subset(self, indices: Tensor, *, name: str) -> ImageSet:
        """The images at `indices`, in that order, under another name; they keep their paths."""
        at = indices.to(self.device)
        paths = tuple(self.paths[i] for i in indices.tolist())
        return ImageSet(self.images[at], self.labels[at], self.class_names, name, paths)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))
