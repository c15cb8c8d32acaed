"""What a smaller network costs is known before it is made."""

from __future__ import annotations

import pytest
import torch

from dnas.cost import count_flops, count_parameters
from dnas.shrinking.costs import flops_of, parameters_of
from dnas.shrinking.groups import Selection, Structure, find_groups
from dnas.shrinking.slicing import sliced
from dnas.shrinking.trace import trace
from dnas.shrinking.verification import verified
from tests.support.shrinking import MODELS, TRANSFORMERS, made, transformers_model


def some(structure: Structure, seed: int) -> tuple[Selection, dict[str, int]]:
    """A random choice, and the values of its decisions."""
    generator = torch.Generator().manual_seed(seed)
    skipped = tuple(block.name for block in structure.blocks if torch.rand((), generator=generator) < 0.5)
    values = {block.name: int(block.name not in skipped) for block in structure.blocks}
    kept = {}
    for group in structure.groups:
        count = int(torch.randint(1, len(group) + 1, (), generator=generator))
        kept[group.name] = range(count)
        block = structure.block_of(group.name)
        values[group.name] = 0 if block is not None and block.name in skipped else count
    return Selection(kept, skipped), values


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_flops_are_those_of_the_smaller_network(name: str):
    model, example = made(name)
    structure = verified(model, example, find_groups(trace(model, example)))
    flops, parameters = flops_of(structure), parameters_of(structure)
    for seed in range(4):
        selection, values = some(structure, seed)
        small = sliced(model, structure, selection)
        assert flops.of(values) == count_flops(small, example)
        assert parameters.of(values) == count_parameters(small)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_also_for_models_of_transformers(name: str):
    pytest.importorskip("transformers")
    model, example = transformers_model(name)
    structure = verified(model, example, find_groups(trace(model, example)))
    selection, values = some(structure, 0)
    small = sliced(model, structure, selection)
    assert flops_of(structure).of(values) == count_flops(small, example)
    assert parameters_of(structure).of(values) == count_parameters(small)
