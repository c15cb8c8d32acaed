"""Image files: only known formats, with a limit on pixels for each image and for all threads together."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, Any, BinaryIO

from dnas.system.reading.files import open_file
from dnas.system.reading.refusal import refusing

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoders that Pillow has of its own or of a library that it brings. Others start programs: EPS and PSD's kind do.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PNG", "PPM", "TGA", "TIFF", "WEBP"),
)
# Pixels of one image, and of all that are decoded at one time; Pillow warns of larger ones. Decoding takes up to 20
# bytes for each.
MOST_PIXELS = 89_000_000
# An image within the file may have another size than the header says.
_UNSURE = ("ICO", "JPEG2000")


class _Share:
    """How many pixels may be decoded at one time, by all threads together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.changed = Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels`, at most `most`, are free, and hold them within the block."""
        with self.changed:
            self.changed.wait_for(lambda: self.taken + pixels <= self.most)
            self.taken += pixels
        try:
            yield
        finally:
            with self.changed:
                self.taken -= pixels
                self.changed.notify_all()


_SHARE = _Share(MOST_PIXELS)


@contextmanager
def open_picture(file: Path | bytes, name: str) -> Iterator[Image]:
    """An image, its header read but nothing decoded; decoding within the block counts in what all threads may take.

    What the block raises is told in one line, as everything that Pillow raises on a damaged file is.

    Args:
        file: a path, or the bytes of a file.
        name: what messages call it.

    Raises:
        FileNotFoundError: there is no file.
        UserError: no regular file, no image of the known formats, damaged, or of more than 89 million pixels.
    """
    with _stream(file) as stream, _refusing(name), _opened(stream) as image:
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} are {pixels:,} pixels; at most {MOST_PIXELS:,} are read")
        with _SHARE.of(MOST_PIXELS if image.format in _UNSURE else pixels):
            yield image


def picture_size(file: Path | bytes, name: str) -> tuple[int, int]:
    """Width and height in pixels as stored, read from the header alone; arguments and errors as of `open_picture`."""
    with _stream(file) as stream, _refusing(name), _opened(stream) as image:
        return image.size


def _refusing(name: str) -> AbstractContextManager[None]:
    return refusing("Cannot read the image", name, advice="Repair, replace or remove this file.")


def _opened(stream: BinaryIO) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(stream, formats=_formats())
    except UnidentifiedImageError as error:  # whose text names the stream, not the file
        raise ValueError("it is none of " + ", ".join(_formats())) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of the named formats that this Pillow knows."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _stream(file: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(file, bytes):
        yield io.BytesIO(file)
    else:
        with open_file(file) as stream:
            yield stream
