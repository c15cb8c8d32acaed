"""Image files of every common kind become the same pixels, and broken ones are named."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dnas.data import ResizeRule, decode_image, to_channels
from dnas.data.decode import Encoded, all_grey, decode_images, image_size
from dnas.system.errors import UserError
from tests.support.limited import lines_under_limit

RULE = ResizeRule(16)


def two_halves(left=(200, 30, 60), right=(20, 90, 220), width: int = 48, height: int = 48) -> Image.Image:
    """An image whose left and right halves have one colour each."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = left, right
    return Image.fromarray(pixels)


def as_file(image: Image.Image, kind: str, **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def corners(pixels: torch.Tensor) -> list[list[int]]:
    """Colours at the middle of the left and of the right border."""
    middle = pixels.shape[1] // 2
    return [pixels[:, middle, 1].tolist(), pixels[:, middle, -2].tolist()]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "PPM", "TIFF", "TGA"])
def test_lossless_formats_give_the_same_pixels(kind):
    pixels = decode_image(as_file(two_halves(), kind), RULE)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == torch.uint8
    assert corners(pixels) == [[200, 30, 60], [20, 90, 220]]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("width", [48, 1024])
def test_lossy_formats_give_nearly_the_same_pixels_at_every_size(kind, width):
    pixels = decode_image(as_file(two_halves(width=width, height=width), kind, quality=95), RULE)
    error = np.abs(np.array(corners(pixels)) - [[200, 30, 60], [20, 90, 220]])
    assert error.max() <= 4


def test_a_jpeg_in_cmyk_becomes_rgb():
    pixels = decode_image(as_file(two_halves().convert("CMYK"), "JPEG", quality=95), RULE)
    assert np.abs(np.array(corners(pixels)) - [[200, 30, 60], [20, 90, 220]]).max() <= 12


def test_grey_palette_and_bilevel_images_become_rgb():
    grey = two_halves((100,) * 3, (255,) * 3).convert("L")
    assert corners(decode_image(as_file(grey, "PNG"), RULE)) == [[100] * 3, [255] * 3]
    palette = two_halves().quantize(8)
    assert corners(decode_image(as_file(palette, "PNG"), RULE)) == [[200, 30, 60], [20, 90, 220]]
    bilevel = two_halves((0,) * 3, (255,) * 3).convert("1")
    assert corners(decode_image(as_file(bilevel, "PNG"), RULE)) == [[0] * 3, [255] * 3]


def test_sixteen_bit_grey_keeps_its_range():
    values = np.repeat(np.array([[257 * 100, 65535]], dtype=np.uint16), 16, axis=0).repeat(8, axis=1)
    for kind in ("PNG", "TIFF"):
        assert corners(decode_image(as_file(Image.fromarray(values), kind), RULE)) == [[100] * 3, [255] * 3]


def test_floating_point_pixels_are_refused():
    image = Image.fromarray(np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match=r"Cannot read the image scan.tif: .* floating-point .* 8 or 16 bits"):
        decode_image(as_file(image, "TIFF"), RULE, name="scan.tif")


def test_transparent_pixels_become_white():
    image = two_halves().convert("RGBA")
    image.paste((1, 2, 3, 0), (24, 0, 48, 48))
    assert corners(decode_image(as_file(image, "PNG"), RULE)) == [[200, 30, 60], [255, 255, 255]]
    palette = as_file(two_halves().quantize(8), "PNG", transparency=two_halves().quantize(8).getpixel((40, 5)))
    assert corners(decode_image(palette, RULE)) == [[200, 30, 60], [255, 255, 255]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_that_a_camera_stored_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels = decode_image(as_file(two_halves(width=400, height=300), kind, exif=exif.tobytes()), RULE)
    assert np.abs(np.array(corners(pixels)) - [[20, 90, 220], [200, 30, 60]]).max() <= 8


# Smooth content, and noise at the limit of what 256 pixels can show. Measured for the latter: 1.35 on average, and 11.5
# where the reduced scale is smaller than the size asked for.
@pytest.mark.parametrize(("detail", "size", "mean", "largest"), [((6, 8), 64, 0.6, 4), ((150, 200), 256, 2.0, 16)])
def test_a_large_jpeg_is_nearly_what_decoding_it_in_full_gives(detail, size, mean, largest):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*detail, 3), dtype=np.uint8))
    file = as_file(noise.resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG", quality=90)
    in_full = np.asarray(ResizeRule(size)(Image.open(io.BytesIO(file))), int)
    difference = np.abs(decode_image(file, ResizeRule(size)).permute(1, 2, 0).numpy().astype(int) - in_full)
    assert difference.mean() < mean
    assert difference.max() <= largest


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
def test_a_truncated_file_is_named(kind, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    file = tmp_path / "holiday"
    whole = as_file(noise, kind)
    file.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match=r"Cannot read the image .*holiday: .* Repair, replace or remove this file"):
        decode_image(file, RULE)


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_what_is_no_image_is_named(content, tmp_path):
    file = tmp_path / "fake.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the image .*fake\.png"):
        decode_image(file, RULE)
    with pytest.raises(ValueError, match=r"Cannot read the image .*fake\.png"):
        image_size(file)


def test_an_image_with_more_pixels_than_pillow_allows_is_named(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"Cannot read the image big: .*decompression bomb"):
        decode_image(as_file(two_halves(), "PNG"), RULE, name="big")


def test_many_images_come_out_in_order_and_progress_is_told():
    shades = [(i % 256,) * 3 for i in range(600)]
    files = [as_file(two_halves(shade, shade, 16, 16), "PPM") for shade in shades]
    encoded = Encoded((0,) * 600, tuple(map(str, range(600))), lambda wanted: [files[i] for i in wanted])
    seen = []
    images = decode_images(encoded, RULE, progress=lambda done, total: seen.append((done, total)))
    assert images[:, 0, 0, 0].tolist() == [shade[0] for shade in shades]
    assert seen == [(i + 1, 600) for i in range(600)]


def test_one_channel_is_the_luma_that_pillow_computes():
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = torch.from_numpy(np.array(Image.fromarray(noise).convert("L")))
    images = torch.from_numpy(noise).permute(2, 0, 1)[None]
    assert torch.equal(to_channels(images, 1)[0, 0], expected)
    assert torch.equal(to_channels(images, 3), images)
    with pytest.raises(ValueError, match="1 or 3 channels; got 2"):
        to_channels(images, 2)


def test_images_are_grey_only_if_all_of_them_are():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert all_grey(images)
    images[1, 2, 0, 0] = 1
    assert not all_grey(images)


def test_a_decoder_is_never_picked_by_content(tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(as_file(two_halves(), "EPS"))
    with pytest.raises(UserError, match=r"Cannot read the image .*x\.png: it is none of "):
        decode_image(file, RULE)


def test_a_named_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    for read in (lambda file: decode_image(file, RULE), image_size):
        with pytest.raises(UserError, match=r"x\.png is a named pipe"):
            read(tmp_path / "x.png")


def transparent_png(width: int, height: int) -> bytes:
    """A PNG of one transparent colour of a palette, made row by row: decoding it takes 20 bytes for a pixel."""
    packed = zlib.compressobj(1)
    rows = b"".join(packed.compress(bytes(width + 1)) for _ in range(height)) + packed.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    palette = chunk(b"PLTE", b"\x01\x02\x03") + chunk(b"tRNS", b"\x00")
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_large_images_in_many_threads_stay_under_a_memory_limit(tmp_path):
    (tmp_path / "large.png").write_bytes(transparent_png(10_000, 8_000))
    (tmp_path / "bomb.png").write_bytes(transparent_png(16_000, 11_000))
    found = lines_under_limit(
        f"""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from dnas.data import ResizeRule, decode_image
folder = Path({str(tmp_path)!r})
refused(decode_image, folder / "bomb.png", ResizeRule(8))
with ThreadPoolExecutor(3) as threads:
    images = threads.map(lambda _: decode_image(folder / "large.png", ResizeRule(8)), range(3))
    print([tuple(image.shape) for image in images] == [(3, 8, 8)] * 3)
"""
    )
    assert "16000 x 11000 are 176,000,000 pixels; at most 89,000,000 are read" in found[0]
    assert found[1] == "True"
