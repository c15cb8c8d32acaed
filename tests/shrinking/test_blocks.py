"""Residual blocks that may be left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.shrinking.groups import Selection, find_groups
from dnas.shrinking.slicing import sliced
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from tests.support.shrinking import made, transformers_model

FOUND = {
    "plain": [],
    "resnet": ["layers.0", "layers.2"],
    "pre-activation": ["1", "2"],
    "mobile": ["2"],
    "dense": [],
    "unet": [],
    "vit": ["blocks.0", "blocks.1"],
}


@pytest.mark.parametrize("name", FOUND)
def test_the_blocks_that_may_be_left_out(name: str):
    model, example = made(name)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert [block.name for block in structure.blocks] == FOUND[name]


@pytest.mark.parametrize(("name", "layers"), [("ViT", "vit.layers"), ("Bert", "bert.encoder.layer")])
def test_layers_of_transformers_that_normalise_first_or_last_may_be_left_out(name: str, layers: str):
    pytest.importorskip("transformers")
    model, example = transformers_model(name)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert [block.name for block in structure.blocks] == [f"{layers}.0", f"{layers}.1"]
    small = sliced(model, structure, Selection({}, (f"{layers}.0",)))
    del model.get_submodule(layers)[0]  # pyright: ignore[reportIndexIssue]
    with torch.no_grad():
        assert torch.equal(small(**example).logits, model(**example).logits)


class Adding(nn.Module):
    """Adds something that it is given: no branch of its own."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Merging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.adding, self.last = (
            nn.Linear(3, 4),
            nn.Linear(4, 4),
            Adding(),
            nn.Linear(4, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(self.adding(y, self.branch(y)))


def test_a_module_that_adds_what_it_is_given_is_no_block():
    structure = find_groups(trace(Merging(), torch.zeros(1, 3)))
    assert structure.blocks == ()


class Residual(nn.Module):
    """x + branch(x), and then something."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.branch, self.after = nn.Linear(4, 4), after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(x + self.branch(x))


def around(block: nn.Module, first: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), first, block, nn.Linear(4, 2))


def test_a_branch_of_zeros_is_as_good_as_no_block():
    model, example = around(Residual(nn.ReLU()), nn.ReLU()).double(), torch.randn(5, 3, dtype=torch.float64)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert [(block.name, block.activation) for block in structure.blocks] == [("2", True)]
    small = sliced(model, structure, Selection(skipped=("2",)))
    branch = model.get_submodule("2.branch")
    for weight in branch.parameters():
        weight.data.zero_()
    assert_close(small(example), model(example), rtol=1e-12, atol=1e-12)
    assert isinstance(small.get_submodule("2"), nn.Identity)


def test_a_block_with_a_relu_stays_where_its_input_may_be_negative():
    model, example = around(Residual(nn.ReLU()), nn.Tanh()), torch.randn(5, 3)
    structure = verified(model, example, find_groups(trace(model, example)))
    assert not structure.blocks
    (frozen,) = (one for one in structure.frozen if one.name == "2")
    assert frozen.reason.startswith("the smaller network differs from the masked one")


@pytest.mark.parametrize("after", [nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 4)])
def test_what_changes_its_input_afterwards_is_no_block(after: nn.Module):
    assert not trace(around(Residual(after), nn.ReLU()), torch.randn(5, 3)).blocks


def test_a_block_that_normalises_last_may_go_where_its_input_is_normalised():
    blocks = [Residual(nn.LayerNorm(4)) for _ in range(2)]
    model = nn.Sequential(nn.Linear(3, 4), *blocks, nn.Linear(4, 2))
    assert [block.name for block in trace(model, torch.randn(5, 3)).blocks] == ["2"]


def test_a_block_that_runs_twice_is_no_choice():
    block = Residual(nn.Identity())
    model = nn.Sequential(nn.Linear(3, 4), block, nn.ReLU(), block)
    assert not trace(model, torch.randn(5, 3)).blocks
