"""What each operator ties: a small layer, the operator, another layer, and the classes that are found between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dnas.shrinking.groups import find_groups
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified

Operator = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """Operators between two convolutions or two linear layers."""

    def __init__(self, first: nn.Module, operator: Operator, second: nn.Module) -> None:
        super().__init__()
        self.first, self.operator, self.second = first, operator, second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.operator(self.first(x)))


def image(operator: Operator, channels: int) -> tuple[nn.Module, Tensor]:
    model = Between(nn.Conv2d(2, 12, 1), operator, nn.Conv2d(channels, 3, 1))
    return model, torch.ones(2, 2, 4, 4)


def row(operator: Operator, features: int) -> tuple[nn.Module, Tensor]:
    return Between(nn.Linear(2, 12), operator, nn.Linear(features, 3)), torch.ones(2, 5, 2)


def sizes(model: nn.Module, example: Tensor) -> dict[str, int]:
    structure = verified(model, example, find_groups(trace(model, example)))
    return {group.name: len(group) for group in structure.groups}


def dealt(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)


def heads(x: Tensor) -> Tensor:
    """Attention of the input with itself, three heads of four channels."""
    y = x.unflatten(-1, (-1, 4)).transpose(1, 2)
    return (torch.softmax(y @ y.transpose(-1, -2), -1) @ y).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("operator", "channels", "classes"),
    [
        (torch.relu_, 12, 12),
        (functional.hardswish, 12, 12),
        (lambda x: x.clamp(0, 1), 12, 12),
        (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), 12, 12),
        (lambda x: x + torch.zeros(4, 1), 12, 12),
        (lambda x: functional.max_pool2d(x, 2), 12, 12),
        (lambda x: functional.avg_pool2d(x, 3, 1, 1), 12, 12),
        (lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"), 12, 12),
        (lambda x: functional.pad(x, (1, 1), value=1.0), 12, 12),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"), 12, 12),
        (functional.instance_norm, 12, 12),
        (lambda x: torch.cat([x, x.tanh()], dim=1), 24, 12),
        (lambda x: torch.stack([x, x.tanh()]).sum(0), 12, 12),
        (lambda x: x.repeat(1, 2, 1, 1), 24, 12),
        (lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), 12, 12),
        (lambda x: torch.cat([*x.chunk(2, dim=1)][::-1], dim=1), 12, 6),
        (lambda x: x[:, : x.shape[1] // 3] + x[:, 2 * x.shape[1] // 3 :], 4, 4),
        (dealt, 12, 4),
        (nn.ChannelShuffle(3), 12, 4),
        (lambda x: functional.pixel_shuffle(x, 2), 3, 3),
        (lambda x: functional.pixel_unshuffle(x, 2), 48, 12),
    ],
)
def test_channels_of_images_that_go_together(operator: Operator, channels: int, classes: int):
    assert sizes(*image(operator, channels)) == {"first": classes}


@pytest.mark.parametrize(
    ("operator", "channels", "reason"),
    [
        (lambda x: x + torch.ones(12, 1, 1), 12, "add in the model itself"),
        (lambda x: x - x.mean(1, keepdim=True), 12, "mean in the model itself goes across its channels"),
        (lambda x: x.softmax(1), 12, "_softmax in the model itself goes across its channels"),
        (lambda x: x[:, :5], 5, "slice in the model itself takes some channels by number"),
        (lambda x: functional.pad(x, (0, 0, 0, 0, 2, 2)), 16, "constant_pad_nd in the model itself"),
        (
            lambda x: torch.cat(x.split([4, 8], dim=1), 1),
            12,
            "split_with_sizes in the model itself cuts unequal blocks",
        ),
        (lambda x: x.flip(1), 12, "flip in the model itself is not known"),
        (lambda x: functional.layer_norm(x, x.shape[1:]), 12, "native_layer_norm in the model itself is not over"),
    ],
)
def test_channels_that_stay_are_named_with_the_reason(operator: Operator, channels: int, reason: str):
    model, example = image(operator, channels)
    structure = find_groups(trace(model, example))
    assert not structure.groups
    (found,) = {one.reason for one in structure.frozen if one.name == "first.weight, dimension 0"}
    assert found.startswith(reason)


@pytest.mark.parametrize(
    ("operator", "features", "classes"),
    [
        (lambda x: x.flatten(0, 1), 12, 12),
        (lambda x: x.transpose(1, 2).transpose(2, 1), 12, 12),
        (lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1), 12, 12),
        (lambda x: x[:, 0], 12, 12),
        (lambda x: x.amax(1), 12, 12),
        (lambda x: torch.einsum("btc,bsc->btsc", x, x).mean(2), 12, 12),
        (heads, 12, 3),
    ],
)
def test_features_of_rows_that_go_together(operator: Operator, features: int, classes: int):
    assert sizes(*row(operator, features)) == {"first": classes}


def test_a_product_over_channels_of_two_activations_leaves_them_together():
    model, example = row(lambda x: (x @ x.transpose(-1, -2)) @ torch.ones(5, 12), 12)
    structure = find_groups(trace(model, example))
    assert not structure.groups
    assert "all its channels go together" in {one.reason for one in structure.frozen}


def test_blocks_of_a_grouped_convolution_lose_equal_places():
    model, example = image(nn.Conv2d(12, 8, 1, groups=4), 8)
    assert sizes(model, example) == {"first": 3, "operator": 2}


def test_a_depthwise_convolution_that_multiplies_channels_goes_with_its_input():
    model, example = image(nn.Conv2d(12, 24, 3, groups=12), 24)
    assert sizes(model, example) == {"first": 12}


def test_a_convolution_with_one_channel_is_not_depthwise():
    model = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Conv2d(1, 6, 1), nn.Conv2d(6, 1, 1))
    assert sizes(model, torch.ones(1, 2, 4, 4)) == {"1": 6}


def test_a_transposed_convolution_makes_its_second_dimension():
    model, example = image(nn.ConvTranspose2d(12, 6, 2), 6)
    assert sizes(model, example) == {"first": 12, "operator": 6}


def test_groups_of_a_group_norm_go_whole():
    assert sizes(*image(nn.GroupNorm(4, 12), 12)) == {"first": 4}


def test_a_layer_norm_over_channels_lets_them_go():
    assert sizes(*row(nn.LayerNorm(12), 12)) == {"first": 12}


def test_a_norm_of_each_head_lets_whole_heads_go():
    class PerHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x.unflatten(-1, (-1, 4))).flatten(-2)

    assert sizes(*row(PerHead(), 12)) == {"first": 3}


def test_an_embedding_has_channels_and_keeps_its_vocabulary():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 2))
    assert sizes(model, torch.arange(4)) == {"0": 6}
