"""What is wrong with a batch is said with its loader, its number and the sample."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from dnas.core.batch import Batch
from dnas.system.errors import UserError
from dnas.task.batch_check import IGNORED, BatchCheck, bad_inputs, steps_on

FIRST = Batch({"words": torch.zeros(3, 2), "more": (torch.zeros(3), 7)}, torch.tensor([0, 1, IGNORED]))


def noted() -> BatchCheck:
    check = BatchCheck("train", 4)
    check.note(FIRST, torch.zeros(3, 2))
    return check


def test_the_place_counts_batches_within_their_epoch():
    assert BatchCheck("val", 4).place(9) == "batch 1 of val (epoch 2)"


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (FIRST, ""),
        (FIRST._replace(targets=torch.tensor([0])), ""),
        (FIRST._replace(inputs={"words": torch.zeros(3, 2)}), "differs from the first batch"),
        (FIRST._replace(inputs={**FIRST.inputs, "more": (torch.zeros(3), "seven")}), "differs from the first batch"),
        (FIRST._replace(inputs={**FIRST.inputs, "words": torch.full((3, 2), math.inf)}), "in 3 of 3 samples"),
        (
            FIRST._replace(targets=torch.tensor([0, 2, -1])),
            "2 of its 3 labels are no class .* of sample 1; .* 0 to 1",
        ),
    ],
    ids=["same", "fewer samples", "fewer inputs", "another type", "infinite", "labels"],
)
def test_a_batch_is_compared_with_the_first_one_in_all_its_parts(batch, words):
    if not words:
        assert noted().wrong_with(batch) == ""
        return
    with (
        pytest.raises(UserError, match=rf"^Batch 1 of train \(epoch 1\) cannot be used: .*{words}"),
        steps_on((noted(), 5, batch)),
    ):
        raise RuntimeError("as torch says it")


def test_an_error_that_the_batch_does_not_explain_keeps_its_type_and_has_the_place_as_a_note():
    with pytest.raises(KeyError) as caught, steps_on((noted(), 0, FIRST)):
        raise KeyError("a mistake of ours")
    assert caught.value.__notes__ == ["This is batch 0 of train (epoch 0)."]


def test_numbers_in_packed_sequences_and_single_numbers_are_looked_at_too():
    check = BatchCheck("train", 1)
    packed = pack_sequence([torch.tensor([1.0, math.nan]), torch.tensor([1.0])])
    assert "NaN" in bad_inputs([(check, 0, Batch(packed, None))])
    assert bad_inputs([(check, 0, Batch(torch.tensor(math.nan), None))]).endswith("the first is sample 0")
    check.note(Batch(pack_sequence([torch.zeros(2)]), None))
    assert check.wrong_with(Batch(pack_sequence([torch.zeros(3)]), None)) == ""
    assert "differs" in check.wrong_with(Batch(pack_sequence([torch.zeros(2, 2)]), None))
