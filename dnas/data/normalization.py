"""Normalising pixels and other numbers to mean 0 and deviation 1 per channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.data.sample_set import SampleSet
from dnas.system.errors import UserError

_CHUNK = 4096  # images counted at a time


@dataclass(frozen=True)
class Normalization:
    """`(x - mean) / std` per channel, the second dimension; of uint8 pixels x is the share of 255.

    Args:
        mean: mean of each channel (of a table: of each feature); of pixels in units where 255 is 1.
        std: standard deviation of each channel, above 0, in the same units.

    Raises:
        UserError: the two differ in length, or a deviation is not above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(
                "Normalization needs one mean and one deviation over 0 for each channel; "
                f"got mean {self.mean} and std {self.std}."
            )

    def __call__(self, pixels: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """`(samples, channels, ...)` uint8 or real to the same shape in `dtype`, computed in float32 or float64.

        Raises:
            UserError: the inputs have another number of channels.
        """
        if pixels.shape[1] != len(self.mean):
            raise UserError(f"Normalization is for {len(self.mean)} channels; the images have {pixels.shape[1]}.")
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        unit = 255 if pixels.dtype == torch.uint8 else 1
        # (p / 255 - mean) / std = p / (255 std) - mean / std
        scale = _per_channel([1 / (unit * s) for s in self.std], exact, pixels)
        shift = _per_channel([m / s for m, s in zip(self.mean, self.std, strict=True)], exact, pixels)
        return pixels.to(exact, copy=True).mul_(scale).sub_(shift).to(dtype)


def measure_normalization(samples: SampleSet) -> Normalization:
    """Mean and standard deviation of each channel over samples and places; a constant channel gets deviation 1.

    Pixels are counted by value, so that the result is exact and the same on every device.

    Raises:
        UserError: there is no sample.
    """
    if len(samples) == 0:
        raise UserError(f"{samples.name} has no image to measure mean and deviation on.")
    is_pixels = samples.kind.inputs == "pixels"
    mean, std = _moments_of_pixels(samples.inputs) if is_pixels else _moments(samples.inputs)
    constant = 1e-6 if is_pixels else 1e-9 * mean.abs()  # no deviation is as small but by rounding
    return Normalization(tuple(mean.tolist()), tuple(torch.where(std > constant, std, 1.0).tolist()))


def _moments_of_pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of `(images, channels, height, width)` uint8, as shares of 255."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in images.split(_CHUNK):
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(chunk[:, channel].flatten(), minlength=256).cpu()
    shares = counts / counts.sum(1, keepdim=True).to(torch.float64)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ values
    return mean, (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()


def _moments(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of `(samples, channels, ...)`."""
    of_channels = numbers.double().transpose(0, 1).flatten(1)
    return of_channels.mean(1), of_channels.std(1, correction=0)


def _per_channel(values: list[float], dtype: torch.dtype, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=like.device).reshape(-1, *(1,) * (like.ndim - 2))
