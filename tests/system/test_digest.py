"""A text with its digest is read as it was written, or refused."""

import hashlib
import json

import pytest

from dnas.system.digest import HashingFile, digest_of, sealed_json, without_seal
from dnas.system.errors import UserError

DATA = {"names": ["Rose", "日"], "edges": [[0, 2], [1, 3]], "mean": 0.4914}


def test_what_is_written_and_what_is_read_have_the_digest_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    with (tmp_path / "file").open("wb") as file:
        hashing = HashingFile(file)
        for start in range(0, len(data), 999):
            hashing.write(data[start : start + 999])
    assert (tmp_path / "file").read_bytes() == data
    assert hashing.digest() == hashlib.sha256(data).hexdigest()
    with (tmp_path / "file").open("rb") as file:
        assert digest_of(file, len(data) - 2, ending=b"xy") == hashlib.sha256(data[:-2] + b"xy").hexdigest()


def test_a_sealed_object_is_json_and_comes_back():
    text = sealed_json(DATA)
    data = json.loads(text)
    assert list(data) == [*DATA, "sha256"]
    assert without_seal(data, text, source="it") == DATA


def test_an_object_without_a_seal_comes_back():
    assert without_seal(DATA, json.dumps(DATA), source="it") == DATA


def test_no_flipped_bit_of_a_sealed_text_is_read_as_other_data():
    text = sealed_json(DATA).encode()
    for place in range(8 * len(text)):
        damaged = bytearray(text)
        damaged[place // 8] ^= 1 << place % 8
        try:
            changed = bytes(damaged).decode()
            data = json.loads(changed)
            found = without_seal(data, changed, source="it")
        except ValueError:  # no UTF-8, no JSON, or refused
            continue
        assert found.keys() - DATA.keys(), "only the seal's own name was hit, which is an entry that nobody knows"


@pytest.mark.parametrize("stated", [3, "", "0" * 64, "é" * 64, None])
def test_a_seal_that_is_none_is_refused(stated):
    data = {**DATA, "sha256": stated}
    with pytest.raises(UserError, match="it is damaged: its contents do not match"):
        without_seal(data, json.dumps(data), source="it")
