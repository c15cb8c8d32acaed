"""Images in a numpy file: `x_train` and `y_train`, and where there is a test part `x_test` and `y_test`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from dnas.data.catalog import Catalog, decoded_catalog
from dnas.data.image_set import ImageSet
from dnas.system.errors import UserError

_EXPECTED = (
    "Expected x_train as uint8 (images, height, width, 1 or 3) or (images, height, width), y_train with one whole "
    "number from 0 up for each image, x_test and y_test likewise where there is a test part, and class_names where "
    "the classes have names"
)


def load_arrays(path: str | Path) -> tuple[ImageSet, ImageSet | None]:
    """Training and test images of an .npz file; the test part is None where the file has none.

    The file is read without pickle.

    Raises:
        UserError: the file is damaged, or its arrays are not as expected; the message says what is.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, AttributeError) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from error
    if "x_train" not in arrays or "y_train" not in arrays:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}. {_EXPECTED}.")
    names = _class_names(path, arrays)
    train = _image_set(path, arrays, "train", names)
    return train, _image_set(path, arrays, "test", names) if "x_test" in arrays else None


def open_arrays(path: str | Path) -> Catalog:
    """The catalog of an .npz file; arguments and errors as those of `load_arrays`."""
    return decoded_catalog(str(path), *load_arrays(path))


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    labels = arrays["y_train"]
    if labels.size == 0 or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise UserError(f"{path}: y_train is {labels.dtype} of shape {labels.shape}. {_EXPECTED}.")
    count = int(labels.max()) + 1
    names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else tuple(map(str, range(count)))
    if len(names) < count:
        raise UserError(f"{path}: class_names has {len(names)} names, but y_train has labels up to {count - 1}.")
    return names


def _image_set(path: Path, arrays: dict[str, np.ndarray], part: str, names: tuple[str, ...]) -> ImageSet:
    if f"y_{part}" not in arrays:
        raise UserError(f"{path} has x_{part} but no y_{part}. {_EXPECTED}.")
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    images = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(f"{path}: x_{part} is {images.dtype} of shape {images.shape}. {_EXPECTED}.")
    if labels.dtype.kind not in "iu" or labels.size != len(images):
        raise UserError(
            f"{path}: y_{part} is {labels.dtype} of shape {labels.shape} for {len(images)} images. {_EXPECTED}."
        )
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.reshape(-1).astype(np.int64)),
        class_names=names,
        name=f"{path.name} {part}",
    )
