"""Arrays of an .npz file: shapes before anything is unpacked, and nothing but numbers and text."""

import io
import struct
import zipfile

import numpy as np
import pytest

from dnas.system.errors import UserError
from dnas.system.reading.arrays import array_headers, read_arrays
from tests.support.limited import lines_under_limit

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "c": np.array(["ant", "bee"]),
    "d": np.array(3),
    "e": np.empty((0, 4), np.uint8),
    "f": np.array([True, False]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert list(read_arrays(tmp_path / "x.npz", ["c"])) == ["c"]
    assert array_headers(tmp_path / "x.npz")["a"].shape == (2, 3)


def header(shape: str, dtype: str = "'|u1'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return stream.getvalue()


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


WHOLE = archive({"a.npy": header("(4,)") + b"abcd"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a zip file"),
        (WHOLE[:-5], "not a zip file"),
        (flipped(WHOLE, 60), "Error|CRC|invalid|format|header"),
        (archive({"a.txt": b"abcd"}), "'a.txt' is no array"),
        (archive({"a.npy": b"abcdefghijkl"}), "no array of format 1.0"),
        (archive({"a.npy": header("(4,)") + b"abc"}), "not those of shape"),
        (archive({"a.npy": header("(4,)") + b"abcde"}), "not those of shape"),
        (archive({"a.npy": header("(1000000000000000000,)")}), "not those of shape"),
        (archive({"a.npy": header("(-4,)") + b"abcd"}), "of shape"),
        (archive({"a.npy": header("(1,)", "'|O'") + b"abcdefgh"}), "expected numbers or text"),
        (archive({"a.npy": header("(1,)", "[('x', '|u1')]") + b"a"}), "expected numbers or text"),
        (archive({"a.npy": header("(1,)", "'<M8[s]'") + b"abcdefgh"}), "expected numbers or text"),
        (archive({"a.npy": header("()", "os.system('ls')") + b"a"}), "."),
        (archive({"a.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 10_000}), "has 4,294,967,295 bytes"),
        (archive({"a.npy": header("(4,)") + b"abcd"}, zipfile.ZIP_LZMA), "a way that numpy does not use"),
        (archive({f"{i}.npy": b"" for i in range(1001)}), "more than 1000 arrays"),
    ],
)
def test_what_is_no_archive_of_arrays_is_named(tmp_path, content, said):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(
        UserError, match=rf"x\.npz is damaged, or not a readable \.npz file of plain arrays: .*({said})"
    ):
        read_arrays(tmp_path / "x.npz")


def test_an_archive_that_multiplies_is_refused_under_a_memory_limit(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, count in (("a", 2**28 + 1), ("b", 1)):
            with file.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(header(f"({count},)"))
                for start in range(0, count, 2**22):
                    stream.write(bytes(min(2**22, count - start)))
    with zipfile.ZipFile(tmp_path / "y.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", header(f"({2**40},)"))
    # The directory of y says what the header says: 2^40 bytes.
    content = bytearray((tmp_path / "y.npz").read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "y.npz").write_bytes(content)
    found = lines_under_limit(
        f"""
from dnas.system.reading.arrays import read_arrays
refused(read_arrays, {str(tmp_path / "x.npz")!r})
refused(read_arrays, {str(tmp_path / "y.npz")!r})
print(read_arrays({str(tmp_path / "x.npz")!r}, ["b"])["b"].tolist())
"""
    )
    assert "would become 268,435,458, which no real data does" in found[0]
    assert "not those of shape (1099511627776,)" in found[1]
    assert found[2] == "[0]"
