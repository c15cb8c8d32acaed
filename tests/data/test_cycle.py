"""Endless streams restart with a new shuffle and can be entered at any step."""

import pytest
import torch

from dnas.data import Cycle, ImageBatches, ImageSet, IterableBatches, Normalization

COUNT = 7


def cycle(step: int = 0) -> Cycle:
    images = ImageSet(torch.zeros(COUNT, 1, 2, 2, dtype=torch.uint8), torch.arange(COUNT), tuple("abcdefg"), "letters")
    batches = ImageBatches(
        images, batch_size=3, augmentation=None, normalization=Normalization((0.0,), (1.0,)), seed=0, shuffle=True
    )
    return Cycle(batches, step=step)


def test_it_goes_through_epoch_after_epoch():
    stream = cycle()
    for epoch in range(3):
        expected = [batch.targets.tolist() for batch in stream.batches.epoch(epoch)]
        assert [next(stream).targets.tolist() for _ in range(3)] == expected
    assert stream.step == 9


def test_an_epoch_is_complete_before_the_next_and_is_shuffled_anew():
    stream = cycle()
    first, second = (torch.cat([next(stream).targets for _ in range(3)]) for _ in range(2))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(COUNT))
    assert first.tolist() != second.tolist()


def test_any_step_can_be_asked_for_in_any_order():
    in_order = [batch.targets.tolist() for batch, _ in zip(cycle(), range(12), strict=False)]
    stream = cycle()
    for step in (11, 0, 1, 5, 5, 6, 7, 2):
        assert stream.batch(step).targets.tolist() == in_order[step]
    assert next(stream).targets.tolist() == in_order[3]
    stream.seek(8)
    assert next(stream).targets.tolist() == in_order[8]
    assert next(cycle(step=10)).targets.tolist() == in_order[10]


def test_streams_of_unequal_length_go_round_at_their_own_pace():
    short, long = (
        Cycle(IterableBatches([(torch.tensor([i]), torch.tensor([i])) for i in range(count)])) for count in (2, 3)
    )
    pairs = [(int(next(short).targets), int(next(long).targets)) for _ in range(6)]
    assert pairs == [(0, 0), (1, 1), (0, 2), (1, 0), (0, 1), (1, 2)]


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="Steps count from 0; got -1"):
        cycle().batch(-1)
