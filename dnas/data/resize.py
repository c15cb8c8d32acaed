"""The named rule by which an image of any size becomes an input of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnas.system.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

SHORTER_SIDE_CENTER_CROP = "shorter_side_center_crop"
LARGEST_SIZE = 4096  # pixels: 48 MiB for an image


@dataclass(frozen=True)
class ResizeRule:
    """Shorter side to `size` pixels (bilinear with antialiasing), then the `size` x `size` square in the centre.

    The sizes are rounded as in torchvision's `Resize(size)` and `CenterCrop(size)`. Loading and prediction
    apply the same rule, and exported files contain it.

    Args:
        size: height and width of the result in pixels.
        name: name of the rule in run folders and exported files; there is only one so far.

    Raises:
        UserError: the size is below 1 or over 4,096 pixels, or the name unknown.
    """

    size: int
    name: str = SHORTER_SIDE_CENTER_CROP

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"The image size must be at least 1 pixel; got {self.size}.")
        if self.size > LARGEST_SIZE:
            raise UserError(f"The image size must be at most {LARGEST_SIZE:,} pixels; got {self.size:,}.")
        if self.name != SHORTER_SIDE_CENTER_CROP:
            raise UserError(f"Unknown resize rule {self.name!r}; this version knows {SHORTER_SIDE_CENTER_CROP!r}.")

    def __call__(self, image: Image) -> Image:
        """`image` (mode L or RGB, any size) resized and cropped to `size` x `size`."""
        if image.size == (self.size, self.size):
            return image
        # Only the part that the crop keeps is computed; the result is the same as resizing everything and then
        # cropping.
        shorter = min(image.size)
        full = [int(self.size * side / shorter) for side in image.size]
        start = [round((side - self.size) / 2.0) for side in full]
        scale = [side / resized for side, resized in zip(image.size, full, strict=True)]
        left, top = (s * k for s, k in zip(start, scale, strict=True))
        right, bottom = ((s + self.size) * k for s, k in zip(start, scale, strict=True))
        box = (left, top, min(right, image.width), min(bottom, image.height))
        return image.resize((self.size, self.size), _bilinear(), box=box)


def _bilinear() -> int:
    from PIL import Image

    return Image.Resampling.BILINEAR
