"""Convolutions that become depthwise-separable: the nearest weights, what they cost, and that sliced equals masked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.run import Run
from dnas.cost import count_flops, count_parameters
from dnas.shrinking.load import load
from dnas.shrinking.rules import Rule
from dnas.shrinking.searchable import Narrowable, make_searchable
from dnas.shrinking.separable import Separable, nearest_products, separable_of, take_apart
from dnas.shrinking.shrink import shrink
from dnas.system.errors import UserError
from tests.shrinking.test_finalists import SETTINGS
from tests.shrinking.test_kernels import EXAMPLE, drawn, rankings
from tests.support.masked_supernet import check_supernet

RULES = [Rule(nn.Conv2d, kernel=True, separable=True)]


class Net(nn.Module):
    """Convolutions with a stride and a padding by words, in a residual block, in two places, and with groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.block = Residual()
        self.twice = nn.Conv2d(6, 6, 3, padding="same", bias=False)
        self.again = self.twice
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.stem(x).relu())
        return self.head(self.grouped(self.again(self.twice(x).relu())).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(6, 4, 5, padding=4, dilation=2), nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(self.inner(x).relu())


@pytest.fixture(scope="module")
def searchable() -> Narrowable:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_searchable(Net().double().eval(), EXAMPLE, rules=RULES)


def convolution(kind: Any, **settings: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(3, 4, 3, **settings).double()


def test_kernels_that_are_products_are_taken_apart_exactly():
    for kind, sides in ((nn.Conv1d, (9,)), (nn.Conv2d, (7, 8)), (nn.Conv3d, (5, 6, 7))):
        whole = convolution(kind, stride=2, padding=1, dilation=2, padding_mode="circular")
        x = torch.randn(2, 3, *sides, dtype=torch.float64)
        with torch.no_grad():
            ones = [1] * (x.ndim - 2)
            whole.weight.copy_(torch.randn(4, 3, *ones).double() * torch.randn(1, 3, *[3 for _ in ones]).double())
            assert_close(take_apart(whole)(x), whole(x), rtol=0, atol=1e-12)


def test_no_other_products_are_nearer_to_a_kernel():
    """What is lost is the sum of the squares of the other singular values of each W[:, i] (Eckart and Young 1936)."""
    weight = convolution(nn.Conv2d).weight.detach()
    singular = torch.linalg.svdvals(weight.transpose(0, 1).flatten(2))
    lost = (weight - nearest_products(weight)).square().sum()
    assert_close(lost, singular[:, 1:].square().sum(), rtol=1e-12, atol=0)


def test_convolutions_that_may_be_taken_apart_are_found_and_others_named(searchable: Narrowable):
    structure = searchable.structure
    assert [one.module for one in structure.separables] == ["stem", "block.inner", "twice"]
    reasons = {one.name: one.reason for one in structure.frozen}
    assert reasons["grouped.kernel"] == "it has 2 groups already"
    assert separable_of("c", nn.Conv2d(1, 4, 3)) == "with one input channel it is depthwise already"
    assert separable_of("c", nn.Conv2d(2, 1, (1, 3))) == Separable("c")
    assert separable_of("c", nn.Conv2d(2, 4, 1)) == separable_of("c", nn.ConvTranspose2d(2, 4, 3)) == ""
    assert not make_searchable(searchable.model, EXAMPLE).structure.separables  # only where a rule says so


@pytest.mark.parametrize("seed", range(3))
def test_separable_networks_equal_masked_ones_and_cost_what_is_counted(searchable: Narrowable, seed: int):
    values = drawn(searchable, seed)
    selection = searchable.selection(values, rankings(searchable))
    small = searchable.derive(selection)
    with torch.no_grad():
        assert_close(small(EXAMPLE), searchable.masked(selection)(EXAMPLE), rtol=0, atol=1e-12)
    assert searchable.flops.of(values) == count_flops(small, EXAMPLE)
    assert searchable.parameters.of(values) == count_parameters(small)
    assert isinstance(small.get_submodule("twice"), nn.Conv2d) == bool(values["twice.whole"])
    assert small.get_submodule("again") is small.get_submodule("twice")


def test_the_supernet_equals_the_original_at_its_largest_and_separable_networks(searchable: Narrowable):
    check_supernet(searchable, EXAMPLE, drawn, rankings(searchable))


def test_a_model_is_shrunk_goes_on_and_is_loaded_with_separable_convolutions(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Net()
    data = [(EXAMPLE.float(), torch.tensor([1, 3]))]
    settings = replace(SETTINGS, finalists=replace(SETTINGS.finalists, num=0), random=1, steps=2)
    rules = [Rule(nn.Conv2d, width=False, depth=False, separable=True)]
    run = Run(tmp_path / "small")

    def again(budget: str = "flops<=60%") -> Any:
        return shrink(model, data, data, budget=budget, rules=rules, search_epochs=1, settings=settings, run=run)

    small = again()
    row = small.shrink_report.row("found")
    assert row.flops <= 0.6 * count_flops(model, EXAMPLE.float()[:1])
    assert small.shrink_report.selection.separated
    second, loaded = again(), load(run.path, model=Net)
    for other in (second, loaded):
        assert all(torch.equal(a, b) for a, b in zip(small.parameters(), other.parameters(), strict=True))
    with pytest.raises(UserError, match="cannot be predicted where convolutions may become depthwise-separable"):
        again("milliseconds<=50%")
