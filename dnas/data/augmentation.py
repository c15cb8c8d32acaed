"""Random crops, flips and cutout of a whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dnas.data.keyed_random import below, random_bits
from dnas.data.sample_set import SampleSet
from dnas.system.errors import UserError

# Legend: N images, C channels, H height, W width.

# Index of each of a sample's random numbers.
_CROP_ROW, _CROP_COLUMN, _FLIP, _CUTOUT_ROW, _CUTOUT_COLUMN, _NUM_DRAWS = range(6)


@dataclass(frozen=True)
class Augmentation:
    """Pad and crop, flip, cutout: the augmentation of DARTS (Liu et al., 2019, https://arxiv.org/abs/1806.09055).

    As in DARTS, the border that a crop may show is black (0 before normalising), and cutout (DeVries and Taylor, 2017,
    https://arxiv.org/abs/1708.04552) writes 0 after normalising, which is the mean colour. The result for a sample
    depends only on the key and on the sample's index.

    Args:
        pad: border in pixels on each side, from which a crop of the old size is taken; 0 leaves images in place.
        flip: whether to mirror left and right with probability 1/2. Not for digits, letters, or anything else with a
            left and a right side.
        cutout: side in pixels of the square that is blanked; its centre is uniform over the image and it is clipped at
            the border. 0 blanks nothing. As published, an odd side blanks one pixel less.

    Raises:
        UserError: a size is negative.
    """

    pad: int = 4
    flip: bool = True
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.pad < 0 or self.cutout < 0:
            raise UserError(
                f"Padding and cutout are sizes in pixels from 0 up; got pad={self.pad}, cutout={self.cutout}."
            )

    def draw(self, key: int, sample_N: Tensor) -> Tensor:
        """The random numbers of each sample, `(samples, draws)` int64, for `move` and `cut`."""
        return random_bits(key, sample_N, _NUM_DRAWS)

    def move(self, pixels_NCHW: Tensor, draws: Tensor) -> Tensor:
        """Cropped and flipped pixels, before normalising; the shape stays."""
        if self.pad:
            # Every crop is a window onto the padded batch: only the drawn window is copied.
            padded = F.pad(pixels_NCHW, (self.pad,) * 4)
            windows = padded.unfold(2, pixels_NCHW.shape[2], 1).unfold(3, pixels_NCHW.shape[3], 1)
            row_N = below(draws[:, _CROP_ROW], 2 * self.pad + 1)
            column_N = below(draws[:, _CROP_COLUMN], 2 * self.pad + 1)
            pixels_NCHW = windows[torch.arange(len(row_N), device=row_N.device), :, row_N, column_N]
        if self.flip:
            mirrored_N = below(draws[:, _FLIP], 2).to(torch.bool)
            pixels_NCHW = torch.where(mirrored_N[:, None, None, None], pixels_NCHW.flip(3), pixels_NCHW)
        return pixels_NCHW

    def cut(self, inputs_NCHW: Tensor, draws: Tensor) -> Tensor:
        """Normalised inputs with the square set to 0; the shape stays."""
        if not self.cutout:
            return inputs_NCHW
        rows_NH = self._inside(draws[:, _CUTOUT_ROW], inputs_NCHW.shape[2])
        columns_NW = self._inside(draws[:, _CUTOUT_COLUMN], inputs_NCHW.shape[3])
        return inputs_NCHW.masked_fill((rows_NH[:, :, None] & columns_NW[:, None, :])[:, None], 0)

    def _inside(self, bits_N: Tensor, length: int) -> Tensor:
        """Which of `length` positions the square covers, `(samples, length)`: centre - half to centre + half - 1."""
        half = self.cutout // 2
        offset = torch.arange(length, device=bits_N.device) - below(bits_N, length)[:, None]
        return (offset >= -half) & (offset < half)


def standard_augmentation(samples: SampleSet, *, cutout: bool = False) -> Augmentation:
    """The augmentation of DARTS for 32 x 32 pixels (border 4, flips, cutout 16), in proportion to the images' size.

    Digits and letters are not flipped, nor images whose targets are numbers, which may have a side. A set is assumed to
    hold digits or letters if every class is named by a number or a single character.

    Args:
        samples: the training images.
        cutout: whether to cut out; DARTS does when it retrains, not when it searches.
    """
    side = min(samples.inputs.shape[2:])
    flip = not all(name.isdecimal() or len(name) == 1 for name in samples.kind.names)
    flip = flip and samples.kind.targets != "numbers"
    return Augmentation(pad=max(1, side // 8), flip=flip, cutout=side // 2 if cutout else 0)
