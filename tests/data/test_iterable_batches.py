"""Any loader of pairs becomes batches."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from dnas.core.batch import Batch
from dnas.data import IterableBatches

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
        ({"image": torch.ones(2), "label": torch.ones(2)}, "got a dict"),
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
