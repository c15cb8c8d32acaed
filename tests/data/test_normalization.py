"""Mean and deviation are those of the pixels."""

import pytest
import torch
from torch.testing import assert_close

from dnas.data import ImageSet, Normalization, measure_normalization

PIXELS = torch.randint(0, 256, (50, 3, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def image_set(pixels: torch.Tensor) -> ImageSet:
    return ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), ("a",), "random")


def test_it_measures_mean_and_deviation_per_channel():
    measured = measure_normalization(image_set(PIXELS))
    exact = PIXELS.double() / 255
    assert_close(torch.tensor(measured.mean, dtype=torch.float64), exact.mean((0, 2, 3)), rtol=1e-12, atol=0)
    assert_close(
        torch.tensor(measured.std, dtype=torch.float64), exact.std((0, 2, 3), correction=0), rtol=1e-12, atol=0
    )


def test_normalised_training_images_have_mean_0_and_deviation_1():
    inputs = measure_normalization(image_set(PIXELS))(PIXELS, dtype=torch.float64)
    assert_close(inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_follows_its_formula_in_the_dtype_asked_for(dtype):
    normalization = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    mean, std = (torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std))
    inputs = normalization(PIXELS, dtype=dtype)
    assert inputs.dtype == dtype
    assert_close(
        inputs, ((PIXELS / 255 - mean) / std).to(dtype), rtol=1e-6 if dtype == torch.float32 else 0.01, atol=1e-5
    )


def test_a_constant_channel_is_not_divided_by_0():
    measured = measure_normalization(image_set(torch.full((2, 1, 4, 4), 7, dtype=torch.uint8)))
    assert measured.std == (1.0,)


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match="one deviation over 0 for each channel"):
        Normalization((0.5,), (0.0,))
    with pytest.raises(ValueError, match="one mean and one deviation"):
        Normalization((0.5, 0.5), (1.0,))
    with pytest.raises(ValueError, match="for 1 channels; the images have 3"):
        Normalization((0.5,), (1.0,))(PIXELS)
    with pytest.raises(ValueError, match="has no image to measure"):
        measure_normalization(image_set(PIXELS[:0]))
