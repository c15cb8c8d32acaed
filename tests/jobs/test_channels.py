"""Grey images for models of colours, and the other way round."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.data import ImageSet, Normalization, ResizeRule
from dnas.jobs.channels import with_channels_of
from dnas.jobs.images import JobData
from dnas.system.errors import UserError


def data_of(channels: int) -> JobData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, channels, 4, 4), generator=generator, dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(6) % 2, ("cat", "dog"), "photos")
    parts = [images.subset(torch.arange(0, 3), name="test"), images.subset(torch.arange(3, 6), name="rest")]
    return JobData(parts[0], parts[1], Normalization((0.1,) * channels, (0.2,) * channels), ResizeRule(4), ())


def model_of(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.Flatten(), nn.Linear(8, 2))


def test_grey_images_get_three_equal_channels_where_the_model_takes_three():
    data = data_of(1)
    changed, note = with_channels_of(model_of(3), data, name="net:it")
    assert note == "All images are grey, and net:it takes three channels: each is read with three equal ones."
    for old, new in ((data.rest.inputs, changed.rest.inputs), (data.test.inputs, changed.test.inputs)):
        assert new.shape == (3, 3, 4, 4) and all(torch.equal(new[:, i], old[:, 0]) for i in range(3))
    assert changed.normalization is not None and len(set(changed.normalization.mean)) == 1
    assert changed.kind.shape == (3, 4, 4) and changed.rest.paths == data.rest.paths


def test_images_in_colour_become_grey_where_the_model_takes_one_channel():
    changed, note = with_channels_of(model_of(1), data_of(3), name="net:it")
    assert "read in grey" in note and changed.kind.shape == (1, 4, 4)


def test_what_the_model_takes_stays_and_what_it_never_takes_is_refused():
    data = data_of(3)
    assert with_channels_of(model_of(3), data, name="net:it") == (data, "")
    with pytest.raises(UserError, match=r"net:it does not take the data, inputs of 3 x 4 x 4 pixels.*to have 5"):
        with_channels_of(model_of(5), data, name="net:it")
