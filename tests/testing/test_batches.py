"""Our sources of batches keep the contract, and it names what is wrong with one that does not."""

import doctest
import re

import pytest
import torch

import dnas.testing.batches
from dnas.core.batch import Batch
from dnas.data import (
    Batches,
    ImageBatches,
    IterableBatches,
    TextBatches,
    load_digits,
    measure_normalization,
    standard_augmentation,
)
from dnas.testing import check_batches


class Numbers(Batches):
    """Three batches of numbers; what each test spoils is a method of its own."""

    def __len__(self):
        return 3

    def epoch(self, epoch, start=0):
        if start > 3:
            raise ValueError("beyond the end")
        for number in range(start, 3):
            yield self.batch(epoch, number)

    def batch(self, epoch, number):
        return Batch(torch.full((2, 1), 10.0 * epoch + number), torch.zeros(2))


class Shuffled(Numbers):
    def batch(self, epoch, number):
        return Batch(torch.rand(2, 1), torch.zeros(2))


class FromTheStart(Numbers):
    def epoch(self, epoch, start=0):
        yield from super().epoch(epoch, min(start, 1) if start <= 3 else start)


class Endless(Numbers):
    def epoch(self, epoch, start=0):
        yield from super().epoch(epoch, min(start, 3))


class Short(Numbers):
    def __len__(self):
        return 4


class NotFinite(Numbers):
    def batch(self, epoch, number):
        return Batch(torch.full((2, 1), torch.nan), torch.zeros(2))


class OneTooMany(Numbers):
    def batch(self, epoch, number):
        return Batch(torch.zeros(3, 1), torch.zeros(2))


class Pairs(Numbers):
    def batch(self, epoch, number):
        return torch.zeros(2, 1), torch.zeros(2)


def test_our_sources_keep_the_contract():
    check_batches(Numbers())
    check_batches(IterableBatches([(torch.zeros(2, 1), torch.zeros(2))] * 3))
    check_batches(TextBatches(torch.arange(100), batch_size=2, bptt=5))
    images = load_digits()
    settings = {"augmentation": standard_augmentation(images), "normalization": measure_normalization(images)}
    check_batches(ImageBatches(images, batch_size=16, seed=0, shuffle=True, **settings), most=3)


@pytest.mark.parametrize(
    ("spoiled", "complaint"),
    [
        (Shuffled, "changed the global random state"),
        (FromTheStart, "other batches of epoch 0 from batch 2 on"),
        (Endless, "takes a start beyond its last batch"),
        (Short, "gives 3 batches where its length is 4"),
        (NotFinite, "a number that is not finite"),
        (OneTooMany, "gives 3 inputs for 2 targets"),
        (Pairs, "gives a tuple, not a dnas.Batch"),
    ],
)
def test_what_is_wrong_is_named(spoiled, complaint):
    with pytest.raises(AssertionError, match=f"{spoiled.__name__} .*{re.escape(complaint)}"):
        check_batches(spoiled())


def test_the_example_in_the_documentation_runs():
    assert doctest.testmod(dnas.testing.batches) == (0, 2)
