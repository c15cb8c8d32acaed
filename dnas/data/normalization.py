"""Normalising pixels to mean 0 and deviation 1 per channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.data.image_set import ImageSet
from dnas.system.errors import UserError

_CHUNK = 4096  # images counted at a time


@dataclass(frozen=True)
class Normalization:
    """`(pixel / 255 - mean) / std` per channel.

    Args:
        mean: mean of each channel, in units where 255 is 1.
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
        """`(images, channels, height, width)` uint8 to the same shape in `dtype`, computed in float32 or float64.

        Raises:
            UserError: the pixels have another number of channels.
        """
        if pixels.shape[1] != len(self.mean):
            raise UserError(f"Normalization is for {len(self.mean)} channels; the images have {pixels.shape[1]}.")
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        # (p / 255 - mean) / std = p / (255 std) - mean / std
        scale = _per_channel([1 / (255 * s) for s in self.std], exact, pixels.device)
        shift = _per_channel([m / s for m, s in zip(self.mean, self.std, strict=True)], exact, pixels.device)
        return pixels.to(exact).mul_(scale).sub_(shift).to(dtype)


def measure_normalization(images: ImageSet) -> Normalization:
    """Mean and standard deviation (over pixels) of each channel; a constant channel gets deviation 1.

    Pixels are counted by value, so that the result is exact and the same on every device.

    Raises:
        UserError: there is no image.
    """
    if len(images) == 0:
        raise UserError(f"{images.name} has no image to measure mean and deviation on.")
    counts = torch.zeros(images.num_channels, 256, dtype=torch.int64)
    for chunk in images.images.split(_CHUNK):
        for channel in range(images.num_channels):
            counts[channel] += torch.bincount(chunk[:, channel].flatten(), minlength=256).cpu()
    shares = counts / counts.sum(1, keepdim=True).to(torch.float64)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return Normalization(tuple(mean.tolist()), tuple(s if s > 1e-6 else 1.0 for s in std.tolist()))


def _per_channel(values: list[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)[:, None, None]
