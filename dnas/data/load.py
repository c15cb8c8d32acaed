"""From the value of `--data` to images, or other samples."""

from __future__ import annotations

from pathlib import Path

from dnas.data.arrays import open_arrays
from dnas.data.catalog import Catalog
from dnas.data.cifar import is_cifar, open_cifar
from dnas.data.decode import Progress
from dnas.data.digits import open_digits
from dnas.data.folder import has_images, open_folder
from dnas.data.hub import open_hub, parquet_files
from dnas.data.source import Source
from dnas.system.errors import UserError
from dnas.task.base import Task

_FORMS = (
    "Expected 'digits', a folder with one subfolder of images per class, CIFAR or parquet files, an .npz file of "
    "arrays, or hf:NAME."
)


def load_source(
    spec: str,
    *,
    size: int | None = None,
    image_column: str = "",
    label_column: str = "",
    progress: Progress | None = None,
    task: Task | None = None,
) -> Source:
    """Load a data set.

    Example:
        >>> load_source("digits").train.images.shape
        torch.Size([1797, 1, 8, 8])

    Args:
        spec: 'digits'; a folder with one subfolder of images per class (or with such folders as its `train/` and
            `test/`); a folder of CIFAR's python or binary files; a parquet file or a folder of them; an .npz file
            with x_train and y_train; 'hf:NAME' or 'hf:NAME:CONFIGURATION' on the Hugging Face hub.
        size: height and width of the resulting images, in pixels; None keeps them (for files: median shorter side, at
            most 64).
        image_column: column of the images in hub and parquet data; empty if there is only one.
        label_column: column of the labels; empty if there is only one.
        progress: called from this thread with (images done, images in all).
        task: says what the targets of an .npz file are; None leaves it to their type and shape.

    Raises:
        MissingPackage: the library for this kind of source is not installed (the message says what to install).
        FileNotFoundError: a file or folder does not exist.
        UserError: it is not an image-classification data set, or an image cannot be read (it is named).
    """
    catalog = open_source(spec, image_column=image_column, label_column=label_column, task=task)
    return catalog.load(size=size, progress=progress)


def open_source(spec: str, *, image_column: str = "", label_column: str = "", task: Task | None = None) -> Catalog:
    """The contents of a data set, with no image decoded; arguments and errors as those of `load_source`."""
    columns = {"image_column": image_column, "label_column": label_column}
    if spec.startswith("hf:"):
        name, _, config = spec.removeprefix("hf:").partition(":")
        if not name:
            raise UserError("'hf:' names no data set; expected a name such as hf:ylecun/mnist.")
        return open_hub(name, config=config, **columns)
    if spec == "digits":
        return _without_columns(spec, columns, open_digits())
    path = Path(spec).expanduser()
    if not spec or not path.exists():
        raise FileNotFoundError(f"There is no file or folder {spec!r}. {_FORMS}")
    if path.suffix == ".parquet":
        return open_hub(str(path), **columns)
    if path.suffix == ".npz":
        return _without_columns(spec, columns, open_arrays(path, task))
    if not path.is_dir():
        raise UserError(f"{spec} is a file{_unpack(path)}. {_FORMS}")
    if is_cifar(path):
        return _without_columns(spec, columns, open_cifar(path))
    if parquet_files(path) and not has_images(path):
        return open_hub(str(path), **columns)
    return _without_columns(spec, columns, open_folder(path))


def _without_columns(spec: str, columns: dict[str, str], catalog: Catalog) -> Catalog:
    """Refuse settings that have no effect."""
    for setting, value in columns.items():
        if value:
            raise UserError(f"{setting}={value!r} has no effect on {spec!r}: only hub and parquet data have columns.")
    return catalog


def _unpack(path: Path) -> str:
    archive = path.suffix.lower() in (".zip", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".7z")
    return " that has to be unpacked first" if archive else ""
