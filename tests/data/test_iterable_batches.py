"""Any loader of pairs becomes batches."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dnas.core.batch import Batch
from dnas.data import IterableBatches
from dnas.system.errors import UserError

PAIRS = [(torch.full((2, 3), float(i)), torch.tensor([i, i])) for i in range(4)]


def test_a_list_of_pairs_is_batches():
    stream = IterableBatches(PAIRS)
    assert len(stream) == 4
    assert [int(batch.targets[0]) for batch in stream.epoch(0)] == [0, 1, 2, 3]
    assert [int(batch.targets[0]) for batch in stream.epoch(5, 2)] == [2, 3]
    assert isinstance(next(iter(stream.epoch(0))), Batch)


def test_a_dataloader_is_batches():
    loader = DataLoader(TensorDataset(torch.arange(10.0)[:, None], torch.arange(10)), batch_size=4)
    assert [batch.targets.tolist() for batch in IterableBatches(loader).epoch(0)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_arrays_dicts_and_tuples_become_tensors_in_dicts_and_tuples():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    batch = next(iter(IterableBatches([({"x": array, "pair": [array, array]}, np.array([0, 1]))]).epoch(0)))
    assert torch.equal(batch.inputs["x"], torch.from_numpy(array))
    assert isinstance(batch.inputs["pair"], tuple)
    assert batch.targets.tolist() == [0, 1]


def test_a_batch_keeps_its_carry():
    batch = next(iter(IterableBatches([Batch(torch.ones(1), torch.ones(1), "state")]).epoch(0)))
    assert batch.carry == "state"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.ones(2), "must yield pairs .* got a Tensor"),
        ((torch.ones(2),), "got a tuple of length 1"),
        ({"image": torch.ones(2), "name": torch.ones(2)}, "it holds image, name"),
        ((["a", "b"], torch.ones(2)), "must be tensors or numpy arrays.* got a str"),
    ],
)
def test_what_is_no_pair_of_tensors_is_told(item, message):
    with pytest.raises(ValueError, match=message):
        next(IterableBatches([item]).epoch(0))


def test_what_can_be_iterated_only_once_is_refused():
    with pytest.raises(ValueError, match="A generator can be iterated only once"):
        IterableBatches(pair for pair in PAIRS)


class Endless:
    def __iter__(self):
        while True:
            yield PAIRS[0]


class TooLong(list):
    def __len__(self) -> int:
        return 9


def test_a_loader_needs_an_honest_length():
    with pytest.raises(ValueError, match="A Endless without a length"):
        IterableBatches(Endless())
    with pytest.raises(ValueError, match="holds no batches"):
        IterableBatches([])
    with pytest.raises(ValueError, match="The loader's length is 9, but it yielded 4 batches"):
        list(IterableBatches(TooLong(PAIRS)).epoch(0))


def test_a_start_behind_the_end_is_refused():
    with pytest.raises(ValueError, match="An epoch has 4 batches; it cannot start at batch 5"):
        next(IterableBatches(PAIRS).epoch(0, 5))


@pytest.mark.parametrize("name", ["labels", "label", "targets", "target"])
def test_a_dict_with_its_labels_is_divided(name):
    item = {"pixels": torch.ones(2, 3), "mask": torch.zeros(2), name: torch.tensor([0, 1])}
    (batch,) = IterableBatches([item]).epoch(0)
    assert batch.inputs.keys() == {"pixels", "mask"}
    assert torch.equal(batch.targets, torch.tensor([0, 1]))


@pytest.mark.parametrize("names", [("x",), ("labels",), ("x", "label", "target")])
def test_a_dict_without_inputs_or_with_unclear_labels_is_refused(names):
    item = {name: torch.ones(2) for name in names}
    with pytest.raises(UserError, match="labels under one of the names labels, label"):
        next(IterableBatches([item]).epoch(0))


def test_a_data_set_of_single_samples_is_refused():
    with pytest.raises(UserError, match=r"gives single samples.*DataLoader\(dataset"):
        IterableBatches(TensorDataset(torch.ones(4, 2), torch.zeros(4)))
