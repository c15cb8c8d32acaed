"""A numpy file: `x_train` and `y_train`, and `x_test` and `y_test` if it has a test part; here images with classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dnas.data.catalog import Catalog, decoded_catalog
from dnas.data.image_set import ImageSet
from dnas.data.sample_arrays import inputs_of, open_samples
from dnas.system.errors import UserError
from dnas.system.reading.arrays import ArrayHeader, array_headers, read_arrays
from dnas.task.base import Task
from dnas.task.language import LanguageModelling
from dnas.task.multilabel import MultiLabel
from dnas.task.regression import Regression
from dnas.task.segmentation import Segmentation

_NAMES = ("x_train", "y_train", "x_test", "y_test", "class_names")

_EXPECTED = (
    "Expected x_train as uint8 (images, height, width, 1 or 3) or (images, height, width), y_train with one whole "
    "number from 0 up for each image, x_test and y_test likewise where there is a test part, and class_names where "
    "the classes have names"
)


def load_arrays(path: str | Path) -> tuple[ImageSet, ImageSet | None]:
    """Training and test images of an .npz file; the test part is None if the file has none.

    Shapes are checked before an array is unpacked; other arrays of the file are ignored.

    Raises:
        UserError: the file is damaged, or its arrays are not as expected; the message says what is.
    """
    path = Path(path)
    headers = array_headers(path)
    if "x_train" not in headers or "y_train" not in headers:
        raise UserError(f"{path} holds {', '.join(list(headers)[:20]) or 'nothing'}. {_EXPECTED}.")
    for part in ("train", "test"):
        if f"x_{part}" in headers:
            _check_images(path, part, headers)
    arrays = read_arrays(path, _NAMES)
    names = _class_names(path, arrays)
    train = _image_set(path, arrays, "train", names)
    return train, _image_set(path, arrays, "test", names) if "x_test" in arrays else None


def open_arrays(path: str | Path, task: Task | None = None) -> Catalog:
    """The catalog of an .npz file: images with a class each, or other arrays and targets (`sample_arrays`).

    Args:
        path: of the file.
        task: says what the targets are; None leaves it to their type and shape.

    Raises:
        UserError: as `load_arrays` or `open_samples`.
    """
    path = Path(path)
    headers = array_headers(path)
    if {"x_train", "y_train"} <= set(headers) and not _has_classified_images(headers, task):
        return open_samples(path, headers, task)
    return decoded_catalog(str(path), *load_arrays(path))


def _has_classified_images(headers: Mapping[str, ArrayHeader], task: Task | None) -> bool:
    images, labels = headers["x_train"], headers["y_train"]
    if isinstance(task, Regression | MultiLabel | Segmentation | LanguageModelling):
        return False
    is_label = labels.dtype.kind in "iu" and (len(labels.shape) == 1 or labels.shape[1:] == (1,))
    return inputs_of(images, task) == "pixels" and is_label


def _check_images(path: Path, part: str, headers: Mapping[str, ArrayHeader]) -> None:
    """Check by the headers that a part has images and a label for each."""
    if f"y_{part}" not in headers:
        raise UserError(f"{path} has x_{part} but no y_{part}. {_EXPECTED}.")
    images, labels = headers[f"x_{part}"], headers[f"y_{part}"]
    shape = images.shape if len(images.shape) == 4 else (*images.shape, 1)
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape[1:]:
        raise UserError(f"{path}: x_{part} is {images.dtype} of shape {images.shape}. {_EXPECTED}.")
    if labels.dtype.kind not in "iu" or math.prod(labels.shape) != shape[0]:
        raise UserError(
            f"{path}: y_{part} is {labels.dtype} of shape {labels.shape} for {shape[0]} images. {_EXPECTED}."
        )


def _class_names(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    labels = arrays["y_train"]
    if labels.size == 0 or labels.min() < 0:
        raise UserError(f"{path}: y_train is {labels.dtype} of shape {labels.shape}. {_EXPECTED}.")
    count = int(labels.max()) + 1
    if count > labels.size:
        raise UserError(
            f"{path}: y_train has labels up to {count - 1} for {labels.size} images, so that classes are without an "
            f"image. {_EXPECTED}."
        )
    names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else tuple(map(str, range(count)))
    if len(names) < count:
        raise UserError(f"{path}: class_names has {len(names)} names, but y_train has labels up to {count - 1}.")
    return names


def _image_set(path: Path, arrays: Mapping[str, np.ndarray], part: str, names: tuple[str, ...]) -> ImageSet:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"].reshape(-1)
    images = images[..., None] if images.ndim == 3 else images
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise UserError(
            f"{path}: y_{part} has labels from {labels.min()} to {labels.max()}; the classes are 0 to {len(names) - 1}."
        )
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
        class_names=names,
        name=f"{path.name} {part}",
    )
