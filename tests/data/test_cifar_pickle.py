"""The parser of CIFAR's python files reads what Python 2 and 3 write, and nothing else."""

import pickle
import struct

import numpy as np
import pytest

from dnas.data.cifar_pickle import parse
from tests.support.limited import lines_under_limit

PIXELS = np.arange(2 * 3072).astype(np.uint8).reshape(2, 3072)
EXPECTED = {"labels": [6, 300], "batch_label": "training batch 1 of 5", "filenames": ["a's.png", "b.png"]}

# As Python 2.7's cPickle and numpy 1 write the official files, by protocol (https://docs.python.org/2/library/pickle.html).


def written_by_python2(protocol: int, pixels: np.ndarray = PIXELS) -> bytes:
    """The structure of an official batch, opcode by opcode: Python 3 cannot write byte strings so."""

    def text(value: bytes) -> bytes:
        if protocol == 0:
            return b"S" + repr(value)[1:].encode() + b"\n"
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        if protocol == 0:
            return b"I%d\n" % value
        small = b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        return b"M" + struct.pack("<H", value) if 256 <= value < 2**16 else small

    def boolean(value: bool) -> bytes:
        return (b"\x88" if value else b"\x89") if protocol == 2 else b"I0%d\n" % value

    def put(place: int) -> bytes:
        return b"p%d\n" % place if protocol == 0 else b"q" + bytes([place])

    def listed(items: list[bytes]) -> bytes:
        return b"(l" + b"".join(item + b"a" for item in items) if protocol == 0 else b"](" + b"".join(items) + b"e"

    array = b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\n" + put(1) + b"(cnumpy\nndarray\n" + put(2),
            b"(" + number(0) + b"t" + put(3) + text(b"b") + b"tR" + put(4),
            b"(" + number(1) + b"(" + number(len(pixels)) + number(3072) + b"t" + b"cnumpy\ndtype\n" + put(5),
            b"(" + text(b"u1") + number(0) + number(1) + b"tR" + put(6),
            b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb",
            boolean(False) + text(pixels.tobytes()) + b"tb",
        ]
    )
    entries = [
        text(b"data") + array,
        text(b"labels") + listed([number(label) for label in EXPECTED["labels"]]),
        text(b"batch_label") + text(EXPECTED["batch_label"].encode()),
        text(b"filenames") + listed([text(name.encode()) + put(9) for name in EXPECTED["filenames"]]),
    ]
    if protocol == 0:
        return b"(dp0\n" + b"".join(entry + b"s" for entry in entries) + b"."
    return (b"\x80\x02" if protocol == 2 else b"") + b"}q\x00(" + b"".join(entries) + b"u."


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_what_python_2_writes_is_read(protocol):
    found = parse(written_by_python2(protocol))
    assert np.array_equal(found.pop("data"), PIXELS)
    assert found == EXPECTED


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_what_python_2_is_said_to_write_is_what_a_pickle_is(protocol):
    found = pickle.loads(written_by_python2(protocol), encoding="bytes")
    assert np.array_equal(found[b"data"], PIXELS)
    assert found[b"labels"] == EXPECTED["labels"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_python_3_writes_is_read(protocol, order):
    content = {b"data": np.asarray(PIXELS, order=order), **{key.encode(): value for key, value in EXPECTED.items()}}
    found = parse(pickle.dumps(content, protocol))
    assert np.array_equal(found.pop("data"), PIXELS)
    assert found == EXPECTED


OBJECTS = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"  # flags 63: the dtype holds Python objects
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR" + OBJECTS + b".", "an array is not of uint8"),
        (b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR.", r"calls numpy\.dtype as no CIFAR file does"),
        (ARRAY + b"(K\x01K\x01\x85NNU\x01atb.", "an array is not of uint8"),
        (ARRAY + b"(K\x01K\x09\x85cnumpy\ndtype\n(U\x02u1K\x00K\x01tR\x89U\x01atb.", "cannot reshape"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7f\x85tR.", r"calls numpy\.ndarray as no CIFAR file does"),
        (b"cos\nsystem\n(U\x02lstR.", r"asks for os\.system"),
        (b"cnumpy.core.multiarray\nscalar\n.", r"asks for numpy\.core\.multiarray\.scalar"),
        (b"c__builtin__\neval\n.", r"asks for __builtin__\.eval"),
        (b"\x8c\x02os\x8c\x06system\x93.", r"asks for os\.system"),
        (b"(ios\nsystem\n.", r"uses opcode b'i'"),
        (b"\x82\x01.", r"uses opcode b'\\x82'"),
        (b"Pabc\n.", "uses opcode b'P'"),
        (b"T\xff\xff\xff\x7fabc", "ends too early"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "ends too early"),
        (b"\x8a\xff" + b"\x01" * 255 + b".", "a number has 255 bytes"),
        (b"I" + b"9" * 100 + b"\n.", "is no whole number"),
        (b"I" + b"9" * 10_000 + b"\n.", "a line has no end"),
        (b"]" * 1_000_001, "more than 1,000,000 opcodes"),
        (b"(" * 1000 + b"t" * 1001, "a mark that is not there"),
        (b"K\x01K\x02a.", "appends to a int"),
        (b"}(]K\x01u.", "not texts with values"),
        (b"0.", "uses opcode b'0'"),
        (b".", "takes more from the stack"),
        (b"h\x05.", "place 5 of its memo is empty"),
        (b"S'abc\n.", "has no quotes"),
        (b"}(U\x01aB" + struct.pack("<I", 2000) + b"x" * 2000 + b"u.", "a text of 2,000 characters"),
        (b"", "ends too early"),
    ],
)
def test_everything_else_is_refused(content, said):
    with pytest.raises(ValueError, match=said):
        parse(content)


def test_a_large_index_of_the_memo_takes_no_memory():
    assert parse(b"}r\xff\xff\xff\x7f.") == {}


def test_deep_nesting_takes_no_stack():
    content = b"}(U\x01a" + b"]" * 100_000 + b"a" * 99_999 + b"u."
    assert list(parse(content)) == ["a"]


def test_hostile_files_are_refused_under_a_memory_limit(tmp_path):
    length = struct.pack("<I", 10**7)
    text = b"c_codecs\nencode\nq\x00(X" + length + b"a" * 10**7 + b"q\x01X\x06\x00\x00\x00latin1q\x02tR"
    hostile = [
        b"r\xff\xff\xff\x7f...",  # an unpickler makes room for 2^31 places of its memo
        b"]" * 10**7,
        text + b"h\x00h\x01h\x02\x86R" * 1000 + b".",
    ]
    for number, content in enumerate(hostile):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            (folder / name).write_bytes(content if name == "data_batch_1" else b"")
    found = lines_under_limit(
        f"""
from dnas.data import load_cifar
for number in range({len(hostile)}):
    refused(load_cifar, {str(tmp_path)!r} + f"/{{number}}")
"""
    )
    assert [line.partition(": ")[2].removesuffix(". Download it again.") for line in found] == [
        "it takes more from the stack than is there",
        "it has more than 1,000,000 opcodes, which no CIFAR file needs",
        "it makes the same byte string many times",
    ]
