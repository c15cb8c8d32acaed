"""Numpy files of images: the same pixels, and a clear word on everything else."""

import numpy as np
import pytest
import torch

from dnas.data import load_source
from dnas.data.arrays import load_arrays
from tests.support.limited import lines_under_limit

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def saved(folder, **arrays):
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return path


def test_pixels_and_labels_come_back(tmp_path):
    train, test = load_arrays(
        saved(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2, None])
    )
    assert torch.equal(train.images, torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    assert train.labels.tolist() == LABELS.tolist()
    assert train.class_names == ("0", "1", "2")
    assert test is not None
    assert test.labels.tolist() == [0, 1]


def test_grey_images_have_one_channel_and_there_may_be_no_test_part(tmp_path):
    train, test = load_arrays(saved(tmp_path, x_train=IMAGES[..., 0], y_train=LABELS))
    assert train.images.shape == (6, 1, 5, 4)
    assert test is None


def test_classes_may_have_names(tmp_path):
    train, _ = load_arrays(saved(tmp_path, x_train=IMAGES, y_train=LABELS, class_names=np.array(["ant", "bee", "cow"])))
    assert train.class_names == ("ant", "bee", "cow")


def test_such_a_file_is_a_data_set(tmp_path):
    source = load_source(str(saved(tmp_path, x_train=IMAGES, y_train=LABELS)), size=4)
    assert source.train.images.shape == (6, 3, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": IMAGES}, "holds images"),
        ({"x_train": IMAGES.astype(np.float32), "y_train": LABELS}, "x_train is float32"),
        ({"x_train": IMAGES[:, :, :, :2], "y_train": LABELS}, r"x_train is uint8 of shape \(6, 5, 4, 2\)"),
        ({"x_train": IMAGES, "y_train": LABELS[:3]}, "for 6 images"),
        ({"x_train": IMAGES, "y_train": LABELS.astype(float)}, "y_train is float64"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "no y_test"),
        ({"x_train": IMAGES, "y_train": LABELS, "class_names": np.array(["one"])}, "class_names has 1"),
        ({"x_train": np.array([None]), "y_train": LABELS}, "is object of shape"),
        ({"x_train": IMAGES, "y_train": LABELS.astype(np.int8) - 1}, "y_train is int8 of shape"),
        ({"x_train": IMAGES, "y_train": LABELS + 5}, "labels up to 7 for 6 images"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS + 1},
            "y_test has labels from 1 to 3; the classes are 0 to 2",
        ),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_was_expected(tmp_path, arrays, said):
    with pytest.raises(ValueError, match=said):
        load_arrays(saved(tmp_path, **arrays))


def test_a_damaged_file_is_named(tmp_path):
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"images\.npz is damaged, or not a readable"):
        load_arrays(path)


def test_a_huge_label_makes_no_names_of_classes(tmp_path):
    labels = LABELS.astype(np.int64)
    labels[3] = 2**62
    found = lines_under_limit(
        f"""
from dnas.data.arrays import load_arrays
from tests.support.limited import lines_under_limit
refused(load_arrays, {str(saved(tmp_path, x_train=IMAGES, y_train=labels))!r})
"""
    )
    assert "y_train has labels up to 4611686018427387904 for 6 images" in found[0]


@pytest.mark.parametrize("shape", [(6, 0, 4, 3), (6, 5, 0, 3)])
def test_images_without_pixels_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="x_train is uint8 of shape"):
        load_arrays(saved(tmp_path, x_train=np.empty(shape, np.uint8), y_train=LABELS))


def test_other_arrays_of_the_file_are_left_alone(tmp_path):
    path = saved(tmp_path, x_train=IMAGES, y_train=LABELS, note=np.array("hello"))
    assert len(load_arrays(path)[0]) == 6
