"""Batches are a function of seed, epoch and sample, wherever they are entered and however they are cut."""

import pytest
import torch
from torch.testing import assert_close

from dnas.data import Augmentation, ImageBatches, ImageSet, Normalization

COUNT = 23
PIXELS = torch.randint(0, 256, (COUNT, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
# A label of its own tells which sample an input came from.
IMAGES = ImageSet(PIXELS, torch.arange(COUNT), tuple(f"class {i}" for i in range(COUNT)), "random")
NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))


def batches(**changes) -> ImageBatches:
    settings = {
        "images": IMAGES,
        "batch_size": 5,
        "augmentation": Augmentation(pad=2, flip=True, cutout=4),
        "normalization": NORMALIZATION,
        "seed": 1,
        "shuffle": True,
    }
    return ImageBatches(**{**settings, **changes})


def drawn(stream: ImageBatches, epoch: int = 0, start: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """All inputs and targets of an epoch."""
    parts = list(stream.epoch(epoch, start))
    return torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])


def test_an_epoch_holds_every_image_once():
    stream = batches()
    sizes = [len(batch.targets) for batch in stream.epoch(0)]
    assert sizes == [5, 5, 5, 5, 3]
    assert len(stream) == 5
    assert drawn(stream)[1].sort().values.tolist() == list(range(COUNT))


def test_a_short_last_batch_can_be_dropped_or_merged():
    assert [len(batch.targets) for batch in batches(drop_last=True).epoch(0)] == [5, 5, 5, 5]
    assert batches(drop_last=True).num_samples == 20
    merged = batches(merge_last=True)
    assert [len(batch.targets) for batch in merged.epoch(0)] == [5, 5, 5, 8]
    assert len(merged) == 4
    whole = ImageBatches.epoch(batches(merge_last=True, batch_size=COUNT), 0)
    assert [len(batch.targets) for batch in whole] == [COUNT]


def test_every_epoch_and_seed_has_its_own_order_and_augmentation():
    inputs, targets = drawn(batches())
    for other in (drawn(batches(), epoch=1), drawn(batches(seed=2))):
        assert not torch.equal(other[1], targets)
        assert not torch.equal(other[0][other[1].argsort()], inputs[targets.argsort()])


def test_a_restarted_epoch_goes_on_bit_by_bit():
    inputs, targets = drawn(batches(), epoch=3)
    for start in range(6):
        rest = list(batches().epoch(3, start))
        assert len(rest) == 5 - start
        if rest:
            assert torch.equal(torch.cat([batch.inputs for batch in rest]), inputs[start * 5 :])
            assert torch.equal(torch.cat([batch.targets for batch in rest]), targets[start * 5 :])


def test_the_augmentation_of_a_sample_does_not_depend_on_batch_or_order():
    inputs, targets = drawn(batches())
    other_size, other_targets = drawn(batches(batch_size=4))
    assert torch.equal(targets, other_targets)
    assert torch.equal(inputs, other_size)
    in_order, _ = drawn(batches(shuffle=False))
    assert torch.equal(inputs[targets.argsort()], in_order)


def test_without_augmentation_inputs_are_the_normalised_images_in_order():
    inputs, targets = drawn(batches(augmentation=None, shuffle=False))
    assert torch.equal(inputs, NORMALIZATION(PIXELS))
    assert torch.equal(targets, IMAGES.labels)


def test_the_border_is_black_and_the_cut_square_the_mean_colour():
    white = ImageSet(torch.full_like(PIXELS, 255), IMAGES.labels, IMAGES.class_names, "white")
    black, full = (NORMALIZATION(torch.full((1, 3, 1, 1), v, dtype=torch.uint8))[0, :, 0, 0] for v in (0, 255))
    inputs, _ = drawn(batches(images=white))
    for channel in range(3):
        values = inputs[:, channel].unique()
        assert_close(values, torch.stack([black[channel], torch.tensor(0.0), full[channel]]), rtol=0, atol=0)


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_format_and_dtype_are_as_asked(channels_last):
    for augmentation in (None, Augmentation(pad=2)):
        stream = batches(channels_last=channels_last, dtype=torch.float64, augmentation=augmentation)
        inputs = next(iter(stream.epoch(0))).inputs
        assert inputs.dtype == torch.float64
        assert inputs.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert inputs.is_contiguous() != channels_last


def test_a_batch_larger_than_the_set_is_the_whole_set_and_noted():
    stream = batches(batch_size=64)
    assert [len(batch.targets) for batch in stream.epoch(0)] == [COUNT]
    assert stream.note == "random: batch size 64 lowered to 23, the number of samples."
    assert batches().note == ""


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match="has no images"):
        batches(images=IMAGES.subset(torch.tensor([], dtype=torch.int64), name="empty"))
    with pytest.raises(ValueError, match="batch size must be at least 1; got 0"):
        batches(batch_size=0)
    with pytest.raises(ValueError, match="choose one"):
        batches(drop_last=True, merge_last=True)
    with pytest.raises(ValueError, match="3 channels, but the normalization is for 1"):
        batches(normalization=Normalization((0.5,), (1.0,)))
    with pytest.raises(ValueError, match="An epoch has 5 batches; it cannot start at batch 6"):
        next(batches().epoch(0, 6))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stored_on", ["cpu", "cuda"])
def test_cuda_gives_what_the_cpu_gives(stored_on):
    inputs, targets = drawn(batches())
    on_cuda, cuda_targets = drawn(batches(images=IMAGES.to(stored_on), device="cuda"))
    assert torch.equal(cuda_targets.cpu(), targets)
    assert_close(on_cuda.cpu(), inputs, rtol=1e-6, atol=1e-6)
