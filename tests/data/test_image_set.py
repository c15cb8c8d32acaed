"""Image sets check what they are given and keep images, labels and paths together."""

import pytest
import torch

from dnas.data import ImageSet, to_device_if_it_fits


def image_set(count: int = 4) -> ImageSet:
    images = torch.arange(count * 3 * 2 * 2).view(count, 3, 2, 2).to(torch.uint8)
    return ImageSet(images, torch.arange(count) % 2, ("cat", "dog"), "pets", tuple(f"{i}.png" for i in range(count)))


def test_a_subset_keeps_images_labels_and_paths_together():
    part = image_set().subset(torch.tensor([3, 0]), name="part")
    assert torch.equal(part.images, image_set().images[[3, 0]])
    assert part.labels.tolist() == [1, 0]
    assert part.paths == ("3.png", "0.png")
    assert part.name == "part"


def test_it_tells_its_shape():
    images = image_set()
    assert (len(images), images.num_classes, images.num_channels, images.size) == (4, 2, 3, (2, 2))
    assert images.num_bytes == 4 * 3 * 2 * 2


def test_paths_are_made_up_where_there_are_none():
    images = ImageSet(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"), "mine")
    assert images.paths == ("mine[0]", "mine[1]")
    assert images.subset(torch.tensor([1]), name="half").paths == ("mine[1]",)


def test_it_moves_to_a_device():
    moved = to_device_if_it_fits(image_set(), torch.device("cpu"))
    assert moved.device == moved.labels.device == torch.device("cpu")
    assert torch.equal(moved.images, image_set().to("cpu").images)


@pytest.mark.parametrize(
    ("images", "labels", "paths", "message"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.int64), (), r"got \(2, 3, 4\) of torch.float32"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), (), r"must be \(2,\) of int64"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 2]), (), "labels go from 0 to 2"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), ("x",), "2 images, but 1 paths"),
    ],
)
def test_parts_that_do_not_fit_are_refused(images, labels, paths, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels, ("a", "b"), "mine", paths)
