"""CIFAR-10 and CIFAR-100 from their standard python or binary files (Krizhevsky, 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnas.data import cifar_pickle
from dnas.data.catalog import Catalog, decoded_catalog
from dnas.data.image_set import ImageSet
from dnas.system.errors import UserError
from dnas.system.reading import read_bytes, read_text, refusing

_PIXELS = 3 * 32 * 32
_LARGEST_NAMES = 100_000  # bytes; CIFAR-100's have about 1,000


@dataclass(frozen=True)
class _Layout:
    """One of the four forms in which CIFAR is distributed (https://www.cs.toronto.edu/~kriz/cifar.html)."""

    name: str
    num_classes: int
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int  # per record of a binary file, the last one being the label used; 0: python batches
    key: str  # name of the labels in a python batch
    names_key: str  # name of the class names in the python form


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_LAYOUTS = (
    _Layout("CIFAR-10", 10, _BATCHES, "test_batch", "batches.meta", 0, "labels", "label_names"),
    _Layout("CIFAR-100", 100, ("train",), "test", "meta", 0, "fine_labels", "fine_label_names"),
    _Layout("CIFAR-10", 10, tuple(f"{b}.bin" for b in _BATCHES), "test_batch.bin", "batches.meta.txt", 1, "", ""),
    _Layout("CIFAR-100", 100, ("train.bin",), "test.bin", "fine_label_names.txt", 2, "", ""),
)


def load_cifar(path: str | Path) -> tuple[ImageSet, ImageSet]:
    """Training and test images, `(images, 3, 32, 32)`, of the CIFAR files in a folder (or one folder below it).

    The files' names tell which form it is: `data_batch_1` ... and `test_batch` or `train`, `test` and `meta` (python),
    `data_batch_1.bin` ... or `train.bin` and `test.bin` (binary). CIFAR-100 gets its 100 fine labels. The python files
    are pickles; a parser of our own reads their few opcodes, and nothing in them is called.

    Raises:
        FileNotFoundError: the folder holds no CIFAR files, or not all of one form.
        UserError: a file is damaged or holds something else.
    """
    folder, layout = _find(Path(path)) or _raise_not_found(Path(path))
    missing = [name for name in (*layout.train, layout.test) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} holds {layout.name}, but these files are missing: {', '.join(missing)}.")
    names = _class_names(folder, layout)
    train = [_read(folder / name, layout) for name in layout.train]
    return (
        _image_set("train", layout, names, *(np.concatenate(arrays) for arrays in zip(*train, strict=True))),
        _image_set("test", layout, names, *_read(folder / layout.test, layout)),
    )


def is_cifar(path: Path) -> bool:
    """Whether the folder, or a folder in it, holds CIFAR files."""
    return _find(path) is not None


def open_cifar(path: str | Path) -> Catalog:
    """The catalog of CIFAR files; arguments and errors as those of `load_cifar`."""
    return decoded_catalog(str(path), *load_cifar(path))


def _find(path: Path) -> tuple[Path, _Layout] | None:
    children = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
    for folder in (path, *children):
        for layout in _LAYOUTS:
            # 'train' alone could be any file: CIFAR-100's comes with 'meta'.
            if (folder / layout.train[0]).is_file() and (layout.test != "test" or (folder / layout.names).is_file()):
                return folder, layout
    return None


def _raise_not_found(path: Path) -> Any:
    raise FileNotFoundError(
        f"{path} holds no CIFAR files. Expected data_batch_1 to data_batch_5 and test_batch (CIFAR-10), train and test "
        "(CIFAR-100), or the same as .bin files."
    )


def _read(file: Path, layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 3, 32, 32)` uint8 and labels `(n,)` int64 of one file."""
    pixels, labels = _read_binary(file, layout) if layout.label_bytes else _read_python(file, layout)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < layout.num_classes:
        raise UserError(
            f"{file} has labels from {labels.min()} to {labels.max()}; {layout.name} has 0 to {layout.num_classes - 1}."
        )
    return pixels.reshape(-1, 3, 32, 32), labels


def _read_binary(file: Path, layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    record = layout.label_bytes + _PIXELS
    values = np.frombuffer(read_bytes(file, most=cifar_pickle.LARGEST), np.uint8)
    if len(values) == 0 or len(values) % record:
        raise UserError(
            f"{file} has {len(values)} bytes; a binary file of {layout.name} has a multiple of {record}. "
            "The file is damaged or was not fully downloaded."
        )
    records = values.reshape(-1, record)
    return records[:, layout.label_bytes :].copy(), records[:, layout.label_bytes - 1].astype(np.int64)


def _read_python(file: Path, layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    batch = _parsed(file)
    pixels, labels = batch.get("data"), batch.get(layout.key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise UserError(f"{file} holds no 'data' array of (images, {_PIXELS}) uint8, as {layout.name} has.")
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(x) is int and abs(x) < 2**31 for x in labels)
    ):
        raise UserError(f"{file} holds no list {layout.key!r} with one number for each of its {len(pixels)} images.")
    return pixels.copy(), np.asarray(labels, dtype=np.int64)


def _class_names(folder: Path, layout: _Layout) -> tuple[str, ...]:
    file = folder / layout.names
    if not file.is_file():
        return tuple(str(label) for label in range(layout.num_classes))
    names = read_text(file, most=_LARGEST_NAMES).split() if layout.label_bytes else _parsed(file).get(layout.names_key)
    if not isinstance(names, list) or len(names) != layout.num_classes or not all(isinstance(n, str) for n in names):
        raise UserError(f"{file} does not list the {layout.num_classes} class names of {layout.name}.")
    return tuple(names)


def _image_set(part: str, layout: _Layout, names: tuple[str, ...], images: np.ndarray, labels: np.ndarray) -> ImageSet:
    return ImageSet(
        torch.from_numpy(images),
        torch.from_numpy(labels),
        class_names=names,
        name=f"{layout.name} {part}",
        paths=tuple(f"{part}/{i:05d}" for i in range(len(images))),
    )


def _parsed(file: Path) -> dict[str, Any]:
    """The dictionary in one of CIFAR's pickles, byte strings as text."""
    content = read_bytes(file, most=cifar_pickle.LARGEST)
    with refusing(file, "is no python file of CIFAR", advice="Download it again."):
        return cifar_pickle.parse(content)
