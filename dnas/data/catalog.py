"""What a data set holds, known before its images are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dnas.data.decode import Encoded, Progress, all_grey, all_problems, decode_images, image_size, to_channels, without
from dnas.data.image_set import ImageSet
from dnas.data.resize import ResizeRule
from dnas.data.sample_kind import SampleKind, image_kind
from dnas.data.sample_set import SampleSet
from dnas.data.source import Source
from dnas.system.errors import UserError
from dnas.system.reading import shortened
from dnas.system.words import number_of

_LONGEST_NAME = 255  # characters of a class, as of a folder
_SAMPLED = 64  # image headers read to learn the usual size
_LARGEST_DEFAULT = 64  # pixels; larger images are reduced to it unless a size is asked for


@dataclass(frozen=True)
class Catalog:
    """A data set before its images are decoded; this is enough to plan a search.

    Args:
        name: name of the data set in messages.
        class_names: names of the classes, in the order of the labels.
        num_train: number of training images.
        num_test: number of images in its own test part, 0 if it has none.
        native_size: median length of the images' shorter side, in pixels; 0 for samples that are no images.
        read: called by `load`.
        fixed: what samples are like that keep their shape; None for images with a class, which are resized.
    """

    name: str
    class_names: tuple[str, ...]
    num_train: int
    num_test: int
    native_size: int
    read: Callable[[ResizeRule, Progress | None, bool], Source]
    fixed: SampleKind | None = None

    @property
    def default_size(self) -> int | None:
        """The size in pixels unless one is asked for: the native one, at most 64 where images can be resized."""
        if self.fixed is not None:
            return self.native_size or None
        return min(self.native_size, _LARGEST_DEFAULT)

    def kind(self, image_size: int | None = None) -> SampleKind:
        """What the samples are like; images that are not decoded yet are taken for those of three channels.

        Args:
            image_size: height and width of the images in pixels; None for `default_size`.
        """
        size = image_size or self.default_size
        if self.fixed is not None:
            return self.fixed
        assert size is not None
        return image_kind(self.class_names, channels=3, size=size)

    def __str__(self) -> str:
        if self.fixed is not None:
            return f"{self.name}, {self.num_train} samples, {self.fixed}"
        classes = f"{len(self.class_names)} classes"
        return f"{self.name}, {self.num_train} images of {classes}, about {self.native_size} pixels"

    def load(
        self, *, size: int | None = None, progress: Progress | None = None, skip_unreadable: bool = False
    ) -> Source:
        """Decode the images to `size` x `size` pixels.

        Args:
            size: size in pixels; None for `default_size`.
            progress: called from this thread with (images done, images in all).
            skip_unreadable: leave out images that cannot be read; the source lists them.

        Raises:
            UserError: images cannot be read (all of them are named), none of a class can, memory cannot hold them, or
                these samples cannot be resized.
        """
        if self.fixed is not None and size not in (None, self.native_size):
            raise UserError(f"image_size {size} would have no effect: the samples of {self.name} keep their shape.")
        return self.read(ResizeRule(size or self.default_size or 1), progress, skip_unreadable)


def encoded_catalog(
    name: str, class_names: Sequence[str], train: Encoded, test: Encoded | None, notes: tuple[str, ...]
) -> Catalog:
    """The catalog of a data set whose images are files.

    Raises:
        UserError: there are fewer than two classes, a class has no training image, or a file is not an image.
    """
    check_classes(name, class_names, train.labels)
    names = tuple(class_names)

    def read(rule: ResizeRule, progress: Progress | None, skip_unreadable: bool) -> Source:
        parts = {"train": train} if test is None else {"train": train, "test": test}
        total, done = sum(map(len, parts.values())), 0
        decoded, left_out, problems = {}, (), {}
        for part, encoded in parts.items():
            bad: dict[int, str] = {}
            images = decode_images(encoded, rule, progress=progress, done=done, total=total, unreadable=bad)
            done += len(encoded)
            problems |= {len(problems) + number: bad[at] for number, at in enumerate(sorted(bad))}
            left_out += tuple(encoded.paths[at] for at in sorted(bad))
            decoded[part] = without(encoded, images, bad) if bad else (encoded, images)
        if problems and not skip_unreadable:
            raise UserError(all_problems(problems))
        check_classes(name, class_names, decoded["train"][0].labels)
        channels = 1 if all(all_grey(images) for _, images in decoded.values()) else 3
        sets = {
            part: _image_set(f"{name} {part}", encoded, to_channels(images, channels), names)
            for part, (encoded, images) in decoded.items()
        }
        said = (f"{number_of(len(left_out), 'image')} cannot be read and left out: {', '.join(left_out[:20])}.",)
        return Source(sets["train"], sets.get("test"), rule, notes + (said if left_out else ()), left_out)

    num_test = 0 if test is None else len(test)
    return Catalog(name, names, len(train), num_test, _median_shorter_side(train), read)


def decoded_catalog(name: str, train: ImageSet, test: ImageSet | None) -> Catalog:
    """The catalog of a data set that is already in memory; a size other than its own resizes every image.

    Raises:
        UserError: there are fewer than two classes, or a class has no training image or a name that cannot be written.
    """
    check_classes(name, train.class_names, train.labels.unique().tolist())

    def read(rule: ResizeRule, progress: Progress | None, skip_unreadable: bool) -> Source:
        resized = resize_images(train, rule)
        source = Source(resized, None if test is None else resize_images(test, rule), rule)
        if progress is not None:
            total = len(train) + (0 if test is None else len(test))
            progress(total, total)
        return source

    return Catalog(name, train.class_names, len(train), 0 if test is None else len(test), min(train.size), read)


def fixed_catalog(name: str, train: SampleSet, test: SampleSet | None) -> Catalog:
    """The catalog of samples in memory that keep their shape.

    Args:
        name: name of the data set in messages.
        train, test: its parts.
    """
    kind, num_test = train.kind, 0 if test is None else len(test)

    def read(rule: ResizeRule, progress: Progress | None, skip_unreadable: bool) -> Source:
        return Source(train, test, None)

    return Catalog(name, kind.names, len(train), num_test, kind.image_size or 0, read, kind)


def resize_images(images: ImageSet, rule: ResizeRule) -> ImageSet:
    """The set with `rule` applied to every image of 1 or 3 channels; the set itself if it has that size."""
    if images.size == (rule.size, rule.size):
        return images
    from PIL import Image

    resized = torch.empty(len(images), images.num_channels, rule.size, rule.size, dtype=torch.uint8)
    for i, pixels in enumerate(images.images.permute(0, 2, 3, 1).numpy()):
        image = rule(Image.fromarray(pixels[:, :, 0] if images.num_channels == 1 else pixels))
        flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        resized[i] = flat.view(rule.size, rule.size, images.num_channels).permute(2, 0, 1)
    return ImageSet(resized, images.labels, images.class_names, images.name, images.paths)


def check_classes(name: str, class_names: Sequence[str], train_labels: Sequence[int]) -> None:
    """Raise UserError unless there are two classes or more, each with a training image and a name in UTF-8."""
    if len(class_names) < 2:
        found = f"one class, {class_names[0]!r}" if class_names else "no class"
        raise UserError(f"{name} has {found}; a classification data set needs at least two.")
    for class_name in class_names:
        _check_name(name, class_name)
    present = set(train_labels)
    empty = [class_name for label, class_name in enumerate(class_names) if label not in present]
    if empty:
        shown = ", ".join(map(repr, empty[:5])) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise UserError(f"{name} has no training image of class {shown}. Add images of it or remove the class.")


def _check_name(name: str, class_name: str) -> None:
    """Check that a name is UTF-8; otherwise writing the trained network would fail."""
    try:
        class_name.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(class_name).decode("utf-8", "backslashreplace")
        raise UserError(
            f"{name}: the class {shortened(shown)} has a name that is no UTF-8, as old archives have, and could not be "
            "written with the trained network. Rename its folder."
        ) from error
    if len(class_name) > _LONGEST_NAME or not class_name.isprintable():
        raise UserError(
            f"{name}: the class {shortened(class_name)} has a name with control characters or of more than "
            f"{_LONGEST_NAME} characters. Rename it."
        )


def _image_set(name: str, encoded: Encoded, images: torch.Tensor, class_names: tuple[str, ...]) -> ImageSet:
    return ImageSet(images, torch.tensor(encoded.labels, dtype=torch.int64), class_names, name, encoded.paths)


def _median_shorter_side(encoded: Encoded) -> int:
    """Median over up to 64 images spread over the set, so that an ordered set is sampled from all classes."""
    step = max(1, len(encoded) // _SAMPLED)
    sides, problem = [], ""
    for at in list(range(0, len(encoded), step))[:_SAMPLED]:
        file = encoded.fetch(range(at, at + 1))[0]
        try:
            sides.append(min(image_size(file, name=encoded.paths[at] if isinstance(file, bytes) else str(file))))
        except (UserError, FileNotFoundError) as error:  # all that cannot be read are told when they are decoded
            problem = problem or str(error)
    if not sides:
        raise UserError(problem)
    return sorted(sides)[len(sides) // 2]
