"""Image files to pixels, many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dnas.data.resize import ResizeRule
from dnas.system.errors import UserError
from dnas.system.memory import check_holds
from dnas.system.reading.pictures import open_picture, picture_size

if TYPE_CHECKING:
    from PIL.Image import Image

# Called with (images done, images in all).
Progress = Callable[[int, int], None]

_CHUNK = 256  # images handed to the threads at a time, so that the files' bytes are not all in memory at once
_TOLD = 100  # unreadable images that one message names
_GREY_16_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Encoded:
    """Images that are not decoded yet.

    Args:
        labels: class of each image.
        paths: name of each image, for messages and lists.
        fetch: returns the files (a path or the bytes) of a range of images.
    """

    labels: tuple[int, ...]
    paths: tuple[str, ...]
    fetch: Callable[[range], list[Path | bytes]]

    def __len__(self) -> int:
        return len(self.labels)


def decode_image(file: Path | bytes, rule: ResizeRule, *, name: str = "") -> Tensor:
    """Decode one image file of any format, mode and size to `(3, size, size)` uint8.

    Camera orientation (EXIF) is applied, transparent pixels become white, 16-bit grey is divided by 257, CMYK and
    palettes become RGB. Large JPEGs are decoded at a reduced scale of at least twice the requested size.

    Args:
        file: a path, or the bytes of a file.
        rule: the size, and how it is reached.
        name: name of the image in messages; the path if left out.

    Raises:
        UserError: it is not an image of a known format, is damaged, or has more than 89 million pixels.
    """
    from PIL import ImageOps

    with open_picture(file, name or _called(file)) as image:
        image.draft(None, (2 * rule.size, 2 * rule.size))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        pixels = np.array(rule(_to_rgb(image)))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decode_images(
    encoded: Encoded,
    rule: ResizeRule,
    *,
    progress: Progress | None = None,
    done: int = 0,
    total: int | None = None,
    unreadable: dict[int, str] | None = None,
) -> Tensor:
    """All images, `(images, 3, size, size)` uint8, decoded in as many threads as there are cores.

    Args:
        encoded: the images.
        rule: the size, and how it is reached.
        progress: called from this thread with (images done, images in all).
        done: for `progress`, number of images that were done before these.
        total: for `progress`, number of images in all; None for the number of these.
        unreadable: takes the reason for each image that cannot be read, by its index; its pixels are then undefined.

    Raises:
        UserError: images cannot be read and `unreadable` is None (all of them are named), or memory cannot hold them.
    """
    count = len(encoded)
    check_holds(count * 3 * rule.size**2, f"{count} images of {rule.size} x {rule.size} pixels")
    images = torch.empty(count, 3, rule.size, rule.size, dtype=torch.uint8)
    problems: dict[int, str] = {} if unreadable is None else unreadable

    def decode(at: int, file: Path | bytes) -> None:
        try:
            images[at] = decode_image(file, rule, name="" if isinstance(file, Path) else encoded.paths[at])
        except (UserError, FileNotFoundError) as error:  # told with all others at the end
            problems[at] = str(error)

    with ThreadPoolExecutor(max_workers=_num_cores()) as threads:
        for chunk in _chunks(count):
            for at, _ in zip(chunk, threads.map(decode, chunk, encoded.fetch(chunk)), strict=True):
                if progress is not None:
                    progress(done + at + 1, count if total is None else total)
    if unreadable is None and problems:
        raise UserError(all_problems(problems))
    return images


def without(encoded: Encoded, images: Tensor, left_out: Collection[int]) -> tuple[Encoded, Tensor]:
    """The images but those that are left out, and their labels and names."""
    kept = [at for at in range(len(encoded)) if at not in left_out]
    labels, paths = tuple(encoded.labels[at] for at in kept), tuple(encoded.paths[at] for at in kept)
    return Encoded(labels, paths, encoded.fetch), images[kept]


def all_problems(problems: Mapping[int, str]) -> str:
    """One message for all images that cannot be read, in their order; the rest of a long list is counted."""
    told = [problems[at] for at in sorted(problems)]
    if len(told) == 1:
        return f"{told[0]} --skip_unreadable true leaves it out."
    more = "" if len(told) <= _TOLD else f" ... and {len(told) - _TOLD} more."
    listed = " ".join(f"({number}) {problem}" for number, problem in enumerate(told[:_TOLD], start=1))
    return f"{len(told)} images cannot be read; --skip_unreadable true leaves them out. {listed}{more}"


def image_size(file: Path | bytes, *, name: str = "") -> tuple[int, int]:
    """Width and height in pixels as stored, read from the file's header alone.

    Raises:
        UserError: it is not an image.
    """
    return picture_size(file, name or _called(file))


def to_channels(images: Tensor, num_channels: int) -> Tensor:
    """`(images, 3, height, width)` uint8 to 1 channel (luma of ITU-R 601, as Pillow rounds it) or 3 (as they are).

    Raises:
        UserError: the number of channels is neither 1 nor 3.
    """
    if num_channels == 3:
        return images
    if num_channels != 1:
        raise UserError(f"Image files can be read with 1 or 3 channels; got {num_channels}.")
    red, green, blue = (images[:, i : i + 1].to(torch.int32) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)


def all_grey(images: Tensor) -> bool:
    """Whether the three channels of all images `(images, 3, height, width)` are equal."""
    return bool((images[:, 0] == images[:, 1]).all()) and bool((images[:, 0] == images[:, 2]).all())


def _to_rgb(image: Image) -> Image:
    """Any mode to RGB, transparent pixels white."""
    from PIL import Image as pil

    if image.mode in _GREY_16_BIT:
        grey = (np.asarray(image).clip(0, 65535).astype(np.int32) + 128) // 257
        return pil.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pil.new("RGBA", image.size, (255, 255, 255, 255))
        return pil.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _called(file: Path | bytes) -> str:
    return os.fsencode(file).decode("utf-8", "backslashreplace") if isinstance(file, Path) else "of bytes"


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
