"""The resize rule is what its name says."""

import numpy as np
import pytest
from PIL import Image

from dnas.data import ResizeRule


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("width", "height"), [(90, 61), (61, 90), (17, 400), (20, 20), (33, 32), (500, 500)])
def test_it_equals_resizing_the_shorter_side_and_cropping_the_centre(width, height):
    size = 32
    resized_size = tuple(int(size * side / min(width, height)) for side in (width, height))
    resized = photo(width, height).resize(resized_size, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in resized_size)
    cropped = resized.crop((left, top, left + size, top + size))
    difference = np.abs(np.asarray(ResizeRule(size)(photo(width, height)), int) - np.asarray(cropped, int))
    assert difference.max() <= 1


def test_an_image_of_the_size_stays_as_it_is():
    assert ResizeRule(32)(photo(32, 32)) == photo(32, 32)


def test_a_very_long_image_takes_little_memory():
    assert ResizeRule(64)(photo(100_000, 1)).size == (64, 64)


def test_an_unknown_rule_and_an_impossible_size_are_refused():
    with pytest.raises(ValueError, match="Unknown resize rule 'stretch'"):
        ResizeRule(32, "stretch")
    with pytest.raises(ValueError, match="at least 1 pixel; got 0"):
        ResizeRule(0)


def test_a_size_that_no_network_takes_is_refused():
    with pytest.raises(ValueError, match="at most 4,096 pixels; got 20,000"):
        ResizeRule(20_000)
