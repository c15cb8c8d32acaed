"""The decisions of a model that becomes smaller: what is decided is what the mixture of that candidate alone gives."""

import pytest
import torch

from dnas.core.mixture import Mixture
from dnas.shrinking.kernels import Kernel
from dnas.shrinking.width import KernelSize, Stays, Width

LIKE = torch.zeros(1, dtype=torch.float64)


def alone(index: int, count: int) -> Mixture:
    """The mixture that is one candidate of so many."""
    return Mixture(torch.eye(count, dtype=torch.float64)[index], active=((index,),))


@pytest.mark.parametrize(("index", "mask"), [(0, [0, 1, 0]), (1, [1, 1, 0]), (2, [1, 1, 1])])
def test_a_decided_width_keeps_the_first_of_its_ranking(index: int, mask: list[float]):
    width = Width("0", (1, 2, 3), ranking=(1, 0, 2))
    width.bind({"0": alone(index, 3)})
    decided = width.plain(width.decision.candidates[index])
    assert decided(LIKE).tolist() == width(LIKE).tolist() == mask
    assert decided.is_whole == width.is_whole == (index == 2)


def test_a_width_without_a_mixture_is_the_mean_of_all():
    assert Width("0", (1, 2, 4), ranking=(3, 2, 1, 0))(LIKE).tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(("index", "kept"), [(0, "out"), (1, "in")])
def test_a_decided_block_stays_whole_or_not_at_all(index: int, kept: str):
    stays = Stays("block")
    stays.bind({"block": alone(index, 2)})
    decided = stays.plain(kept)
    assert decided(LIKE).item() == stays(LIKE).item() == index
    assert decided.is_whole == stays.is_whole == bool(index)


def test_a_block_without_a_mixture_stays_by_half():
    assert Stays("block")(LIKE).item() == 0.5


@pytest.mark.parametrize(("index", "entries"), [(0, 1), (1, 9), (2, 25)])
def test_a_decided_kernel_keeps_its_centre(index: int, entries: int):
    size = KernelSize(Kernel("conv", (1, 3, 5), dims=2))
    size.bind({"conv.kernel": alone(index, 3)})
    decided = size.plain(size.decision.candidates[index])
    assert decided(LIKE).tolist() == size(LIKE).tolist()
    assert decided(LIKE)[2, 2] == 1
    assert decided(LIKE).sum() == entries
    assert decided.is_whole == size.is_whole == (index == 2)


def test_a_kernel_without_a_mixture_is_the_mean_of_all():
    mask = KernelSize(Kernel("conv", (1, 3), dims=1))(LIKE)
    assert mask.tolist() == [0.5, 1, 0.5]
