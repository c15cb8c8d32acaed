"""Smaller copies equal the masked model, for every model and random choices of channels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dnas.core.batch import tensors_in
from dnas.shrinking.groups import Selection, Structure, find_groups
from dnas.shrinking.masking import masked
from dnas.shrinking.slicing import sliced
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from tests.support.shrinking import MODELS, TRANSFORMERS, made, transformers_model

# The widths that can be chosen in each model: for every group its number of classes.
FOUND = {
    "plain": {"0": 8, "3": 12, "8": 10},
    "resnet": {"stem.0": 8, "layers.0.conv1": 8, "layers.1.conv1": 16, "layers.1.conv2": 16, "layers.2.conv1": 16},
    "pre-activation": {"0": 8, "1.conv1": 8, "2.conv1": 8},
    "mobile": {"0": 8, "2.layers.0": 16, "3.layers.0": 16, "3.layers.6": 12},
    "dense": {"0": 8, "1.conv": 4, "2.conv": 4, "3": 8},
    "shuffle": {"0": 2, "1.branch.0": 4, "2.branch.0": 4},
    "unet": {"down.0": 4, "bottom.1": 4, "up": 8, "out.0": 8},
    "signal": {"0": 8, "4": 6},
    "table": {"0": 16, "4": 8},
    "vit": {
        "patches": 24,
        "blocks.0.attention.qkv": 4,
        "blocks.0.mlp.0": 48,
        "blocks.1.attention.qkv": 4,
        "blocks.1.mlp.0": 48,
    },
    "gated": {"stem": 8, "excite.1": 4},
    "shared": {"stem": 8, "first": 10},
    "two outputs": {"body.0": 8},
    "recurrent": {"body.0": 8, "out.0": 8},
    "deciding": {"0": 10, "4": 12},
    "grouped": {"enter": 2, "grouped": 3, "mix": 4},
}


def structure_of(model: nn.Module, example: Tensor | dict[str, Tensor]) -> Structure:
    return verified(model, example, find_groups(trace(model, example)))


def outputs(model: nn.Module, example: Tensor | dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [*tensors_in(model(**example) if isinstance(example, dict) else model(example))]


def some(structure: Structure, seed: int) -> Selection:
    """Of every group at least one class, and some of the blocks, at random."""
    generator = torch.Generator().manual_seed(seed)
    kept = {}
    for group in structure.groups:
        count = int(torch.randint(1, len(group) + 1, (), generator=generator))
        kept[group.name] = tuple(sorted(torch.randperm(len(group), generator=generator)[:count].tolist()))
    skipped = [block.name for block in structure.blocks if torch.rand((), generator=generator) < 0.5]
    return Selection(kept, tuple(skipped))


@pytest.mark.parametrize("name", MODELS)
def test_the_widths_that_can_be_chosen(name: str):
    structure = structure_of(*made(name))
    assert {group.name: len(group) for group in structure.groups} == FOUND[name]


@pytest.mark.parametrize("name", MODELS)
def test_a_sliced_model_equals_the_masked_one(name: str):
    model, example = made(name)
    structure = structure_of(model, example)
    for seed in range(5):
        kept = some(structure, seed)
        small = sliced(model, structure, kept)
        assert type(small) is type(model)
        for found, expected in zip(
            outputs(small, example), outputs(masked(model, structure, kept), example), strict=True
        ):
            assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_with_everything_kept_the_model_is_the_original_bit_for_bit(name: str):
    model, example = made(name)
    structure = structure_of(model, example)
    kept = Selection({group.name: range(len(group)) for group in structure.groups})
    for small in (sliced(model, structure, kept), masked(model, structure, kept)):
        for found, expected in zip(outputs(small, example), outputs(model, example), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_given_is_not_changed(name: str):
    model, example = made(name)
    model.train()
    before = copy.deepcopy(model.state_dict())
    structure = structure_of(model, example)
    sliced(model, structure, Selection({group.name: (0,) for group in structure.groups}))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_widths_do_not_depend_on_the_memory_format():
    model, example = made("plain")
    last = torch.channels_last
    found = structure_of(model.to(memory_format=last), example.contiguous(memory_format=last))
    assert {group.name: len(group) for group in found.groups} == FOUND["plain"]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_models_of_transformers_equal_the_masked_ones(name: str):
    pytest.importorskip("transformers")
    model, example = transformers_model(name)
    structure = structure_of(model, example)
    assert len(structure.groups) == {"ResNet": 5, "MobileNetV2": 25, "ViT": 5, "Bert": 6}[name]
    kept = some(structure, 0)
    for found, expected in zip(
        outputs(sliced(model, structure, kept), example),
        outputs(masked(model, structure, kept), example),
        strict=True,
    ):
        assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_sliced_layer_says_its_new_sizes():
    model, example = made("mobile")
    structure = structure_of(model, example)
    small = sliced(model, structure, Selection({"2.layers.0": (0, 3, 5)}))
    expand, depthwise, project = (small.get_submodule(f"2.layers.{index}") for index in (0, 3, 6))
    norm = small.get_submodule("2.layers.1")
    assert (expand.in_channels, expand.out_channels) == (8, 3)
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (3, 3, 3)
    assert (project.in_channels, project.out_channels, norm.num_features) == (3, 8, 3)


def test_weights_that_were_one_tensor_stay_one():
    model, example = made("shared")
    structure = structure_of(model, example)
    small = sliced(model, structure, Selection({"first": (1, 2)}))
    assert small.get_submodule("first").weight is small.get_submodule("second").weight
    assert small.get_submodule("first").weight.shape == (2, 8)


def test_a_sliced_model_trains():
    model, example = made("resnet")
    structure = structure_of(model, example)
    small = sliced(model, structure, Selection({group.name: (0, 1) for group in structure.groups})).train()
    small(example).square().sum().backward()
    assert all(weight.grad is not None for weight in small.parameters())
