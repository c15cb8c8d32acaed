"""A batch is what a loader yields; its tensors are found and moved wherever they are nested."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from dnas.core.batch import Batch, first_tensor, to_device

X, Y = torch.zeros(5, 2), torch.ones(5)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


def test_a_pair_of_a_data_loader_is_a_batch():
    batch = Batch(*next(iter(DataLoader(TensorDataset(X, Y), batch_size=3))))
    assert batch.num_samples == 3
    assert batch.carry is None


@pytest.mark.parametrize(
    "inputs",
    [X, (X, Y[:1]), [X], {"ids": X}, ({}, X), ([], {"a": (3, X)}), ("text", X), Pair(X, Y), {"n": None, "x": X}],
)
def test_the_first_tensor_counts_the_samples(inputs):
    assert first_tensor(inputs) is X
    assert Batch(inputs, Y).num_samples == 5


@pytest.mark.parametrize("inputs", [(), {}, None, "text", ([], {"a": ()})])
def test_inputs_without_a_tensor_are_told(inputs):
    with pytest.raises(ValueError, match="must hold at least one tensor; got"):
        first_tensor(inputs)


def test_every_nested_tensor_moves_and_the_rest_stays():
    moved = to_device(Batch({"x": [X, (Y, "text")], "n": 3}, Pair(X, Y), None), torch.device("meta"))
    assert isinstance(moved, Batch)
    assert moved.inputs["x"][0].is_meta
    assert moved.inputs["x"][1][0].is_meta
    assert (moved.inputs["x"][1][1], moved.inputs["n"], moved.carry) == ("text", 3, None)
    assert isinstance(moved.targets, Pair)
    assert moved.targets.right.is_meta
