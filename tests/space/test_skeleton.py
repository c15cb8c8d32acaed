"""Stem, stacked cells, classifier and auxiliary head."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from dnas.space.ops import EVALUATION
from dnas.space.skeleton import AuxiliaryHead, CellMaker, ImageNetStem, Skeleton, reductions


class Halver(nn.Module):
    """A stand-in for a cell: adds its inputs, and takes every second pixel where it reduces."""

    def __init__(self, channels: int, reduction: bool):
        super().__init__()
        self.channels, self.stride = channels, 2 if reduction else 1

    def forward(self, s0: torch.Tensor, s1: torch.Tensor) -> torch.Tensor:
        return (s0 + s1)[:, :, :: self.stride, :: self.stride]


def skeleton(cells: int, *, stem="cifar", auxiliary: bool = False) -> Skeleton:
    return Skeleton(
        CellMaker(Halver, 1, 1),
        channels=4,
        cells=cells,
        num_classes=5,
        in_channels=2,
        stem=stem,
        auxiliary=auxiliary,
        form=EVALUATION,
    )


@pytest.mark.parametrize(
    ("cells", "expected"), [(1, ()), (2, (1,)), (3, (1, 2)), (5, (1, 3)), (8, (2, 5)), (14, (4, 9)), (20, (6, 13))]
)
def test_reductions_lie_at_one_and_two_thirds(cells: int, expected: tuple[int, ...]):
    assert reductions(cells) == expected


def test_channels_double_at_each_reduction():
    widths = [block.cell.channels for block in skeleton(8).blocks]
    assert widths == [4, 4, 8, 8, 8, 16, 16, 16]


@pytest.mark.parametrize("cells", [1, 2, 3, 7])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (8, 8), (17, 16)])
def test_any_number_of_cells_and_image_size_gives_logits_in_train_mode_with_auxiliary_logits(cells, stem, size):
    network = skeleton(cells, stem=stem, auxiliary=True)
    images = torch.randn(2, 2, *size)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (2, 5)
    assert network.eval()(images).shape == (2, 5)


def test_every_weight_but_the_auxiliary_head_gets_a_gradient_from_the_logits():
    network = skeleton(5, auxiliary=True)
    logits, _ = network(torch.randn(2, 2, 8, 8))
    logits.sum().backward()
    without = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is None}
    assert without == {"auxiliary_head"}


def test_the_imagenet_stem_divides_the_image_by_four_and_by_eight():
    s0, s1 = ImageNetStem(3, 4, EVALUATION)(torch.randn(2, 3, 32, 32))
    assert s0.shape == (2, 4, 8, 8)
    assert s1.shape == (2, 4, 4, 4)


@pytest.mark.parametrize(("stem", "size", "stride"), [("cifar", 8, 3), ("imagenet", 7, 2)])
def test_the_auxiliary_head_pools_as_published_where_that_gives_2x2(stem, size: int, stride: int):
    x = torch.rand(1, 3, size, size)
    assert_close(AuxiliaryHead(3, 5, stem)._pool(x), F.avg_pool2d(x, 5, stride))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 14, 20])
def test_the_auxiliary_head_pools_other_sizes_adaptively(size: int):
    x = torch.rand(1, 3, size, size)
    assert_close(AuxiliaryHead(3, 5, "cifar")._pool(x), F.adaptive_avg_pool2d(x, 2))


def test_an_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="'cifar' or 'imagenet'; got 'mnist'"):
        skeleton(3, stem="mnist")
