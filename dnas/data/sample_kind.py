"""What the samples of a data set are like: all that a network for them must know."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dnas.core.batch import Batch

# Pixels are uint8 (channels, height, width), shares of 255; numbers are real, of any shape; tokens are int64.
Inputs = Literal["pixels", "numbers", "tokens"]
# One class for each sample; real numbers; 0 or 1 for each of some labels; a class for each place, such as a pixel.
Targets = Literal["class", "numbers", "labels", "map"]


@dataclass(frozen=True)
class SampleKind:
    """What the samples of a data set are like.

    Args:
        names: of the classes, the labels or the numbers that a network tells, in the order of its outputs.
        shape: of one sample's inputs: (channels, height, width), (features,), (channels, length), (tokens,), ...
        inputs: what the inputs are.
        targets: what the targets are.
        target_shape: of one sample's targets; () for a class.
        num_tokens: number of different tokens, 0 for other inputs.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    inputs: Inputs = "pixels"
    targets: Targets = "class"
    target_shape: tuple[int, ...] = ()
    num_tokens: int = 0

    @property
    def num_outputs(self) -> int:
        """Number of classes, labels or numbers."""
        return len(self.names)

    @property
    def in_channels(self) -> int:
        """Length of the first dimension of a sample: channels of images and signals, features of a table."""
        return self.shape[0]

    @property
    def image_size(self) -> int | None:
        """Height of images in pixels; None for inputs of other dimensions."""
        return self.shape[1] if len(self.shape) == 3 else None

    def with_channels(self, channels: int) -> SampleKind:
        """The same for another number of channels."""
        return replace(self, shape=(channels, *self.shape[1:]))

    def zeros(self, count: int) -> Tensor:
        """Inputs of `count` samples, all 0, as a network gets them."""
        return torch.zeros(count, *self.shape, dtype=torch.int64 if self.inputs == "tokens" else torch.float32)

    def random_inputs(self, count: int, generator: torch.Generator) -> Tensor:
        """Random inputs of `count` samples, normalised ones."""
        if self.inputs == "tokens":
            return torch.randint(self.num_tokens, (count, *self.shape), generator=generator)
        return torch.randn(count, *self.shape, generator=generator)

    def random_batch(self, count: int, generator: torch.Generator) -> Batch:
        """Random inputs and targets of `count` samples."""
        inputs, shape = self.random_inputs(count, generator), (count, *self.target_shape)
        if self.targets == "numbers":
            return Batch(inputs, torch.randn(shape, generator=generator))
        values = 2 if self.targets == "labels" else self.num_outputs
        return Batch(inputs, torch.randint(values, shape, generator=generator))

    def __str__(self) -> str:
        called = {"class": "classes", "numbers": "numbers", "labels": "labels", "map": "classes for each place"}
        count = math.prod(self.target_shape) if self.targets == "numbers" else self.num_outputs
        sides = " x ".join(map(str, self.shape))
        return f"inputs of {sides} {self.inputs}, targets of {count} {called[self.targets]}"


def image_kind(class_names: tuple[str, ...], *, channels: int, size: int) -> SampleKind:
    """Square images with a class each.

    Args:
        class_names: in the order of the labels.
        channels: of the images.
        size: height and width in pixels.
    """
    return SampleKind(class_names, (channels, size, size))
