"""Small pictures as PNG files, without a library (PNG, third edition, https://www.w3.org/TR/png-3/)."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}  # number of channels -> grey, RGB


def png(pixels: bytes, *, width: int, height: int, channels: int) -> bytes:
    """A PNG file.

    Args:
        pixels: 8 bits for each channel of each pixel, row by row from the top, channels last.
        width, height: in pixels.
        channels: 1 of grey or 3 of red, green and blue.
    """
    row = width * channels
    assert len(pixels) == row * height
    lines = b"".join(b"\0" + pixels[row * index : row * (index + 1)] for index in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
