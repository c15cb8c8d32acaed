"""Partial channels are those of the paper: which channels, how they are pooled, and how they are shuffled."""

import doctest

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import dnas.space.partial
from dnas.space.partial import PartialChannels, PartialPlainCell, channel_shuffle


def images(channels: int = 4, size: tuple[int, int] = (6, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(dnas.space.partial).failed == 0


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_shuffle_is_that_of_torch_and_keeps_the_layout(groups: int, layout: torch.memory_format):
    x = images(6).contiguous(memory_format=layout)
    shuffled = channel_shuffle(x, groups)
    assert_close(shuffled, nn.ChannelShuffle(groups)(x.contiguous()), rtol=0, atol=0)
    assert shuffled.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_operations_see_the_first_channels_without_gaps(layout: torch.memory_format):
    x = images(8).contiguous(memory_format=layout)
    first = PartialChannels(4).first(x)
    assert_close(first, x[:, :2], rtol=0, atol=0)
    assert first.is_contiguous(memory_format=layout)


def test_the_other_channels_are_pooled_by_maximum_where_the_edge_has_stride_2():
    partial, x = PartialChannels(4), images(8)
    assert_close(partial.others(x, 1), x[:, 2:], rtol=0, atol=0)
    assert_close(partial.others(x, 2), F.max_pool2d(x[:, 2:], 2, 2), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(5, 4), (1, 3), (1, 1)])
def test_odd_sizes_are_rounded_up_as_the_operations_do(size: tuple[int, int]):
    height, width = (-(-length // 2) for length in size)
    assert PartialChannels(2).others(images(4, size), 2).shape == (2, 2, height, width)


def test_nothing_mixed_counts_as_zeros():
    partial, x = PartialChannels(2), images(4)
    others = partial.others(x, 1)
    assert_close(partial.join(None, others), partial.join(torch.zeros_like(x[:, :2]), others), rtol=0, atol=0)


def test_a_plain_cell_lets_the_other_channels_of_an_edge_pass_once():
    double, triple = nn.Conv2d(2, 2, 1, bias=False).double(), nn.Conv2d(2, 2, 1, bias=False).double()
    x = images(4)
    edges = [(0, 1), (0, 1), (0, 2), (1, 2)]
    cell = PartialPlainCell(
        edges,
        [1, 1, 1, 1],
        [double, triple, double, nn.Identity()],
        num_inputs=1,
        output=(1, 2),
        partial=PartialChannels(2),
    )
    shuffle = nn.ChannelShuffle(2)
    first = shuffle(torch.cat([double(x[:, :2]) + triple(x[:, :2]), x[:, 2:]], 1))
    second = shuffle(torch.cat([double(x[:, :2]) + first[:, :2], x[:, 2:] + first[:, 2:]], 1))
    assert_close(cell(x), torch.cat([first, second], 1), rtol=0, atol=1e-12)
