"""Image folders: one subfolder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dnas.data.catalog import Catalog, encoded_catalog
from dnas.data.decode import Encoded, Progress
from dnas.data.source import Source
from dnas.system.errors import UserError

# Formats that Pillow reads by itself. Other files are ignored, counted and reported.
IMAGE_EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "dib", "gif", "ico", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg"),
        *("mpo", "pbm", "pgm", "png", "pnm", "ppm", "tga", "tif", "tiff", "webp"),
    )
)
_TRAIN, _TEST, _VAL = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")


def load_folder(path: str | Path, *, size: int | None = None, progress: Progress | None = None) -> Source:
    """Read a folder with one subfolder of images per class, or with such folders as its `train/` and `test/`.

    Args:
        path: the folder. Images may lie at any depth below their class.
        size: height and width of the resulting images, in pixels; None for their median shorter side, at most 64.
        progress: called with (images done, images in all).

    Raises:
        FileNotFoundError: the folder does not exist.
        UserError: there are not at least two classes with images, or an image cannot be read (it is named).
    """
    return open_folder(path).load(size=size, progress=progress)


def open_folder(path: str | Path) -> Catalog:
    """The catalog of an image folder; arguments and errors as those of `load_folder`."""
    folder = Path(path)
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file; expected a folder with one subfolder of images per class.")
        raise FileNotFoundError(
            f"There is no folder {folder}. Expected a folder with one subfolder of images per class, "
            "such as photos/cat/1.jpg and photos/dog/2.jpg."
        )
    train_folders, test_folder, notes = _find_parts(folder)
    class_names = sorted({child.name for part in train_folders for child in _visible_folders(part)})
    if not class_names:
        raise UserError(
            f"{train_folders[0]} has no subfolders, so there is no class; expected one subfolder of images per class, "
            f"such as {train_folders[0] / 'cat' / '1.jpg'}."
        )
    ignored: Counter[str] = Counter()
    train = _scan(folder, train_folders, class_names, ignored, every_class=True)
    test = None
    if test_folder is not None:
        test = _scan(folder, [test_folder], class_names, ignored, every_class=False)
        if len(test) == 0:
            notes += (f"{test_folder} has no subfolder of images per class and is left out.",)
            test = None
    return encoded_catalog(str(folder), class_names, train, test, notes + _ignored_note(ignored))


def has_images(folder: Path) -> bool:
    """Whether there is an image file at any depth."""
    return any(
        Path(name).suffix.lower() in IMAGE_EXTENSIONS and not _is_hidden(name)
        for _, _, names in os.walk(folder)
        for name in names
    )


def _find_parts(folder: Path) -> tuple[list[Path], Path | None, tuple[str, ...]]:
    """Training folders, test folder and notes; the folder itself is the training part if it has no parts.

    A class may also be called 'train': the folder has parts only if all its subfolders are named like parts and the
    training part has subfolders.
    """
    by_name = {child.name.lower(): child for child in _visible_folders(folder)}
    train, test, val = (next((by_name[n] for n in names if n in by_name), None) for names in (_TRAIN, _TEST, _VAL))
    if train is None or not set(by_name) <= {*_TRAIN, *_TEST, *_VAL} or not _visible_folders(train):
        return [folder], None, ()
    if test is not None and val is not None:
        return [train, val], test, (f"{val.name}/ is used with {train.name}/, {test.name}/ as the test part.",)
    if val is not None:
        return [train], val, (f"There is no test/ folder: {val.name}/ is the test part.",)
    return [train], test, ()


def _scan(
    root: Path, parts: Sequence[Path], class_names: Sequence[str], ignored: Counter[str], *, every_class: bool
) -> Encoded:
    """The images of all classes in the parts, in the order of classes, then of paths; counts what it ignores."""
    files: list[Path] = []
    labels: list[int] = []
    unknown = sorted({child.name for part in parts for child in _visible_folders(part)} - set(class_names))
    if unknown:
        raise UserError(
            f"{parts[0]} has the class {unknown[0]!r}, which the training images do not have "
            f"(they have {', '.join(map(repr, class_names[:5]))}{', ...' if len(class_names) > 5 else ''})."
        )
    for part in parts:
        ignored.update(_kind(child) for child in part.iterdir() if not child.is_dir())
    for label, class_name in enumerate(class_names):
        of_class: list[Path] = []
        ignored_here: Counter[str] = Counter()
        for part in parts:
            of_class += _images_below(part / class_name, ignored_here)
        if not of_class and every_class:
            raise UserError(
                f"Class folder {parts[0] / class_name} holds no image{_in_brackets(ignored_here)}. "
                f"Known extensions: {' '.join(sorted(IMAGE_EXTENSIONS))}."
            )
        ignored.update(ignored_here)
        files += of_class
        labels += [label] * len(of_class)
    return Encoded(
        labels=tuple(labels),
        paths=tuple(_written(file.relative_to(root)) for file in files),
        fetch=lambda wanted: [files[i] for i in wanted],
    )


def _written(path: Path) -> str:
    """A path as UTF-8, with other bytes escaped."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _images_below(folder: Path, ignored: Counter[str]) -> list[Path]:
    """Image files at any depth, sorted by path; hidden files and files of other kinds are counted in `ignored`."""
    images = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for name in names:
            file = Path(parent, name)
            if not _is_hidden(name) and file.suffix.lower() in IMAGE_EXTENSIONS:
                images.append(file)
            else:
                ignored[_kind(file)] += 1
    return sorted(images)


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _is_hidden(child.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _kind(file: Path) -> str:
    """The name under which an ignored file is counted."""
    if _is_hidden(file.name):
        return "hidden"
    if file.suffix.lower() in IMAGE_EXTENSIONS:
        return "images outside the class folders"
    return file.suffix.lower() or "no extension"


def _ignored_note(ignored: Counter[str]) -> tuple[str, ...]:
    if not ignored:
        return ()
    total = sum(ignored.values())
    return (f"{total} file{'' if total == 1 else 's'} ignored{_in_brackets(ignored)}.",)


def _in_brackets(ignored: Counter[str]) -> str:
    return " (" + ", ".join(f"{kind}: {count}" for kind, count in sorted(ignored.items())) + ")" if ignored else ""
