"""Crops, flips and cutout do to each image what the paper's loop over images does."""

import pytest
import torch

from dnas.data import Augmentation, ImageSet, standard_augmentation
from dnas.data.keyed_random import below

PIXELS = torch.randint(0, 256, (200, 3, 12, 10), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
SAMPLES = torch.arange(200)


def test_crops_are_windows_of_the_image_with_a_black_border():
    augmentation = Augmentation(pad=3, flip=False)
    draws = augmentation.draw(1, SAMPLES)
    moved = augmentation.move(PIXELS, draws)
    assert moved.shape == PIXELS.shape
    for i in range(200):
        row, column = (int(below(draws[i, j], 7)) for j in (0, 1))
        framed = torch.zeros(3, 18, 16, dtype=torch.uint8)
        framed[:, 3:15, 3:13] = PIXELS[i]
        assert torch.equal(moved[i], framed[:, row : row + 12, column : column + 10])


def test_every_position_of_the_crop_occurs_equally_often():
    draws = Augmentation(pad=3, flip=False).draw(1, torch.arange(49_000))
    positions = below(draws[:, 0], 7) * 7 + below(draws[:, 1], 7)
    counts = torch.bincount(positions, minlength=49)
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_half_of_the_images_are_mirrored_left_and_right():
    augmentation = Augmentation(pad=0, flip=True)
    moved = augmentation.move(PIXELS, augmentation.draw(1, SAMPLES))
    same = (moved == PIXELS).flatten(1).all(1)
    mirrored = (moved == PIXELS.flip(3)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 70 < int(mirrored.sum()) < 130


def test_without_flip_and_border_pixels_stay():
    augmentation = Augmentation(pad=0, flip=False)
    assert torch.equal(augmentation.move(PIXELS, augmentation.draw(1, SAMPLES)), PIXELS)


@pytest.mark.parametrize("length", [4, 5])
def test_cutout_is_a_square_around_a_uniform_centre_clipped_at_the_border(length):
    augmentation = Augmentation(pad=0, flip=False, cutout=length)
    draws = augmentation.draw(1, SAMPLES)
    inputs = torch.ones(200, 3, 12, 10)
    cut = augmentation.cut(inputs, draws)
    for i in range(200):
        # The loop of DeVries and Taylor: y1 = clip(y - length // 2, 0, h) and so on.
        y, x = int(below(draws[i, 3], 12)), int(below(draws[i, 4], 10))
        expected = torch.ones(3, 12, 10)
        expected[:, max(y - length // 2, 0) : y + length // 2, max(x - length // 2, 0) : x + length // 2] = 0
        assert torch.equal(cut[i], expected)
    assert bool((inputs == 1).all())


def test_no_cutout_leaves_inputs_alone():
    inputs = torch.ones(2, 3, 4, 4)
    augmentation = Augmentation(cutout=0)
    assert augmentation.cut(inputs, augmentation.draw(1, SAMPLES[:2])) is inputs


def test_the_standard_is_that_of_darts_at_32_pixels():
    images = ImageSet(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1]), ("cat", "dog"), "pets")
    assert standard_augmentation(images) == Augmentation(pad=4, flip=True, cutout=0)
    assert standard_augmentation(images, cutout=True) == Augmentation(pad=4, flip=True, cutout=16)


@pytest.mark.parametrize("names", [("0", "1", "23"), ("a", "b", "c")])
def test_digits_and_letters_are_not_flipped(names):
    images = ImageSet(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([0]), names, "signs")
    assert standard_augmentation(images) == Augmentation(pad=1, flip=False, cutout=0)


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes in pixels from 0 up; got pad=-1, cutout=2"):
        Augmentation(pad=-1, cutout=2)
