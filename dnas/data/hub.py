"""Image-classification sets of Hugging Face `datasets`: from the hub, or from parquet files on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dnas.data.catalog import Catalog, encoded_catalog
from dnas.data.decode import Encoded, Progress
from dnas.data.source import Source
from dnas.system.errors import MissingPackage, UserError
from dnas.system.reading import in_one_line

_UNLABELLED = -1
_TEST_NAMES = ("test", "validation", "valid", "val")


def load_hub(
    name: str,
    *,
    config: str = "",
    image_column: str = "",
    label_column: str = "",
    size: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """Load a data set of images with one label each.

    Code that comes with a data set is never run.

    Args:
        name: a name on the hub such as 'ylecun/mnist', a folder that holds parquet files, or a parquet file.
        config: configuration of the data set; empty for its only one.
        image_column: column of the images; empty for the only column of that type.
        label_column: column of the labels; empty for the only column of class labels, or else the only one
            of whole numbers or text.
        size: height and width of the resulting images, in pixels; None for their median shorter side, at most 64.
        progress: called with (images done, images in all).

    Raises:
        MissingPackage: `datasets` is not installed.
        FileNotFoundError: a file or folder does not exist.
        UserError: the hub cannot be reached or has no such data set, or its columns or labels do not fit.
    """
    catalog = open_hub(name, config=config, image_column=image_column, label_column=label_column)
    return catalog.load(size=size, progress=progress)


def open_hub(name: str, *, config: str = "", image_column: str = "", label_column: str = "") -> Catalog:
    """The catalog of a hub or parquet data set; arguments and errors as those of `load_hub`."""
    parts = _load(name, config)
    train_name, test_name = _part_names(name, list(parts))
    rows = parts[train_name]
    image_column = _image_column(name, rows.features, image_column)
    label_column = _label_column(name, rows.features, label_column, image_column)
    class_names = _class_names(rows, label_column)
    train = _encoded(name, train_name, rows, image_column, _labels(name, train_name, rows, label_column, class_names))
    if test_name is None:
        return encoded_catalog(name, class_names, train, None, ())
    labels = _labels(name, test_name, parts[test_name], label_column, class_names)
    if set(labels) == {_UNLABELLED}:
        note = f"The part {test_name!r} of {name} has no labels and is left out."
        return encoded_catalog(name, class_names, train, None, (note,))
    test = _encoded(name, test_name, parts[test_name], image_column, labels)
    notes = () if test_name == "test" else (f"{name} has no part 'test': {test_name!r} is the test part.",)
    return encoded_catalog(name, class_names, train, test, notes)


def parquet_files(path: Path) -> dict[str, list[str]]:
    """Parquet files at any depth by part ('train', 'test', 'validation'), according to file and folder names.

    If no file names a part, all are training data.

    Raises:
        UserError: only some files name their part.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    by_part: dict[str, list[str]] = {}
    for file in files:
        by_part.setdefault("" if path.is_file() else _part_of(file.relative_to(path)), []).append(str(file))
    if "" in by_part and len(by_part) > 1:
        raise UserError(
            f"{path}: {by_part[''][0]} could belong to any part, while others name theirs. "
            "Put 'train' or 'test' into the name of each parquet file or of its folder."
        )
    return {part or "train": names for part, names in by_part.items()}


def _part_of(file: Path) -> str:
    """'train', 'test', 'validation' or, if no name along the path says, ''."""
    for piece in reversed(file.with_suffix("").parts):
        for word in re.split(r"[^a-z]+", piece.lower()):
            if word in ("train", "training"):
                return "train"
            if word in ("test", "testing"):
                return "test"
            if word in ("validation", "valid", "val", "dev"):
                return "validation"
    return ""


def _load(name: str, config: str) -> Any:
    """The parts of a data set by name, nothing decoded."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage(
            'Hub and parquet data sets need `datasets`. Install it: pip install ".[hub]" in a clone of dnas'
        ) from error
    path = Path(name)
    if not path.exists() and (path.suffix == ".parquet" or name.startswith((".", "/", "~")) or not name):
        raise FileNotFoundError(f"There is no file or folder {name!r}; expected parquet files or a name on the hub.")
    try:
        if path.exists():
            # load_dataset(path) would also look for other files than parquet in the folder.
            files = parquet_files(path)
            if not files:
                raise UserError("it holds no .parquet file")
            return datasets.load_dataset("parquet", data_files=files)
        return datasets.load_dataset(name, config or None)
    except Exception as error:  # whatever a file caused in `datasets`, pyarrow or the network
        reason = in_one_line(error)
        hint = (
            "Check that these are parquet files of one data set."
            if path.exists()
            else "Check the name and the network connection, or download its parquet files and name their folder."
        )
        raise UserError(f"Cannot load the data set {name!r}: {reason}. {hint}") from error


def _part_names(name: str, parts: list[str]) -> tuple[str, str | None]:
    """The parts for training and for testing."""
    if len(parts) == 1:
        return parts[0], None
    if "train" not in parts:
        raise UserError(f"{name} has the parts {', '.join(parts)}, but none is called 'train'.")
    return "train", next((part for part in _TEST_NAMES if part in parts), None)


def _image_column(name: str, features: Any, wanted: str) -> str:
    import datasets

    def is_image(feature: Any) -> bool:
        # Parquet files that `datasets` did not write have the same content, but not its name for the type.
        return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})

    found = [column for column, feature in features.items() if is_image(feature)]
    return _only(name, features, found, wanted, kind="image")


def _label_column(name: str, features: Any, wanted: str, image_column: str) -> str:
    import datasets

    classes = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    values = [
        column
        for column, feature in features.items()
        if isinstance(feature, datasets.Value) and re.fullmatch(r"u?int\d+|bool|(large_)?string", feature.dtype)
    ]
    found = [wanted] if wanted in values else classes or values
    return _only(name, features, [column for column in found if column != image_column], wanted, kind="label")


def _only(name: str, features: Any, found: list[str], wanted: str, *, kind: str) -> str:
    """The wanted column or, if none is given, the only one found."""
    if wanted and wanted in found:
        return wanted
    if not wanted and len(found) == 1:
        return found[0]
    columns = "; ".join(f"{column}: {_type(feature)}" for column, feature in features.items())
    if wanted:
        raise UserError(f"{name} has no {kind} column {wanted!r}. Its columns: {columns}.")
    problem = f"{len(found)} {kind} columns ({', '.join(found)})" if found else f"no {kind} column"
    raise UserError(f"{name} has {problem}; set {kind}_column to one of its columns: {columns}.")


def _type(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else type(feature).__name__


def _class_names(rows: Any, column: str) -> list[str]:
    """Names of the classes, from the column's type or, for plain numbers and text, its sorted values."""
    import datasets

    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names)
    return [str(value) for value in sorted({value for value in _column(rows, column) if value is not None})]


def _labels(name: str, part: str, rows: Any, column: str, class_names: list[str]) -> tuple[int, ...]:
    """Label of each row; -1 for images that a data set publishes without their labels."""
    import datasets

    values = _column(rows, column)
    if isinstance(rows.features[column], datasets.ClassLabel):
        labels = [_UNLABELLED if value is None else int(value) for value in values]
    else:
        by_name = {class_name: label for label, class_name in enumerate(class_names)}
        unknown = next((str(v) for v in values if v is not None and str(v) not in by_name), None)
        if unknown is not None:
            raise UserError(f"{name}: the part {part!r} has the label {unknown!r}, which no training image has.")
        labels = [_UNLABELLED if value is None else by_name[str(value)] for value in values]
    if _UNLABELLED in labels and (part == "train" or set(labels) != {_UNLABELLED}):
        raise UserError(f"{name}: row {labels.index(_UNLABELLED)} of {part!r} has no label; every image needs one.")
    return tuple(labels)


def _column(rows: Any, column: str) -> list[Any]:
    return list(rows.select_columns([column])[:][column])


def _encoded(name: str, part: str, rows: Any, image_column: str, labels: tuple[int, ...]) -> Encoded:
    import datasets

    images = rows.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))

    def fetch(wanted: range) -> list[Path | bytes]:
        files: list[Path | bytes] = []
        for at, image in zip(wanted, images[wanted.start : wanted.stop][image_column], strict=True):
            if image is None or (image["bytes"] is None and not image["path"]):
                raise UserError(f"Row {at} of {part!r} has no image.")
            if image["bytes"] is None and Path(name).exists():
                raise UserError(
                    f"Row {at} of {part!r} names a file instead of holding an image; what a parquet file names is not "
                    "read. Make the parquet files with the images in them."
                )
            files.append(Path(image["path"]) if image["bytes"] is None else image["bytes"])
        return files

    return Encoded(labels, tuple(f"{part}[{i}]" for i in range(len(rows))), fetch)
