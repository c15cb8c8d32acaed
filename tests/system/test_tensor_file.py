"""A file of tensors comes back as it was written, or is refused; torch alone reads it too."""

import random
import resource
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from dnas.system.digest import NoDigest
from dnas.system.errors import UserError
from dnas.system.tensor_file import check_finite, first_non_finite, load_tensors, save_tensors


def a_state() -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "step": 7,
        "rows": [{"loss": 0.1}],
        "weights": {f"layer{i}.weight": torch.randn(8, 3, 2, 2, generator=generator) for i in range(10)},
        "random": torch.arange(50, dtype=torch.uint8),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "state.pt", a_state())
    return tmp_path / "state.pt"


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert (found["step"], found["rows"]) == (expected["step"], expected["rows"])
    assert torch.equal(found["random"], expected["random"])
    assert all(torch.equal(found["weights"][name], tensor) for name, tensor in expected["weights"].items())


def test_what_is_written_comes_back(path):
    assert_same(load_tensors(path), a_state())


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_it_without_dnas(path, mmap: bool):
    assert_same(torch.load(path, weights_only=True, mmap=mmap), a_state())


def test_it_is_a_sound_zip_archive(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"dnas sha256 ")


def test_every_flipped_bit_is_refused(path):
    contents = path.read_bytes()
    ends = [*range(64), *range(len(contents) - 120, len(contents))]
    positions = [*ends, *random.Random(0).sample(range(len(contents)), 300)]
    for position in positions:
        bit = random.Random(position).randrange(8)
        damaged = bytearray(contents)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_tensors(path)
    path.write_bytes(contents)
    load_tensors(path)


def test_every_flipped_bit_of_the_digest_itself_is_refused(path):
    contents = path.read_bytes()
    for place in range(8 * (len(contents) - 100), 8 * len(contents)):
        damaged = bytearray(contents)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_tensors(path)


@pytest.mark.parametrize("num_bytes", [1, 76, 78, 98, 1000])
def test_a_file_that_lost_its_end_is_refused(path, num_bytes: int):
    path.write_bytes(path.read_bytes()[:-num_bytes])
    with pytest.raises(UserError, match="damaged"):
        load_tensors(path)


def test_a_file_that_another_was_appended_to_is_refused(path):
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    with pytest.raises(UserError, match="damaged"):
        load_tensors(path)


def test_a_file_without_a_digest_is_read_with_a_line_that_says_so(path):
    torch.save(a_state(), path)
    with pytest.warns(NoDigest, match=r"state\.pt was written without a digest") as warned:
        found = load_tensors(path)
    assert_same(found, a_state())
    assert len(warned) == 1


def test_the_first_number_that_is_not_finite_is_named():
    state = {"a": [1.0, torch.zeros(2)], "b": {"c": torch.tensor([0.0, torch.nan])}, "d": float("inf")}
    assert first_non_finite(state) == "b.c"
    assert first_non_finite({"a": state["a"], "n": torch.tensor([2**62]), "t": "nan", "none": None}) == ""
    assert first_non_finite({"rows": [{"loss": float("nan")}]}) == "rows.0.loss"
    with pytest.raises(UserError, match=r"last\.pt is damaged: b\.c holds NaN or infinity"):
        check_finite(state, source="last.pt")


# Files that somebody made to do harm; each is read in a process of its own, which may take 4 GiB.


def refused(path: Path) -> str:
    code = f"""
import warnings
from pathlib import Path
from dnas.system.errors import UserError
from dnas.system.tensor_file import load_tensors
warnings.simplefilter("ignore")
try:
    load_tensors(Path({str(path)!r}))
except UserError as error:
    print(error)
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=limit, timeout=60
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def repacked(source: Path, target: Path, change=lambda name, data: data, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", compression) as out:
        for entry in archive.infolist():
            out.writestr(entry.filename, change(entry.filename, archive.read(entry)))


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1 << 26)}, tmp_path / "large.pt")  # 256 MiB
    repacked(tmp_path / "large.pt", tmp_path / "small.pt", compression=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "small.pt").stat().st_size < 1 << 20
    assert "it is compressed" in refused(tmp_path / "small.pt")


def test_a_storage_that_states_more_elements_than_the_file_has_is_refused(tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "honest.pt")

    def claim(name: str, data: bytes) -> bytes:
        return data.replace(b"K\x04", b"J\x00\x00\x00\x40") if name.endswith("data.pkl") else data  # 2^30 elements

    repacked(tmp_path / "honest.pt", tmp_path / "lie.pt", claim)
    assert "lie.pt is damaged" in refused(tmp_path / "lie.pt")


def test_one_element_that_is_repeated_endlessly_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**11)}, tmp_path / "wide.pt")
    assert "a is larger than the file" in refused(tmp_path / "wide.pt")


def test_a_tensor_that_has_no_numbers_is_refused(tmp_path):
    torch.save({"a": torch.zeros(10**12, device="meta")}, tmp_path / "meta.pt")
    assert "a is larger than the file" in refused(tmp_path / "meta.pt")


def test_lists_within_lists_without_end_are_refused(tmp_path):
    nested: list = []
    for _ in range(200):
        nested = [nested]
    torch.save({"a": nested}, tmp_path / "deep.pt")
    assert "nested more than 100 deep" in refused(tmp_path / "deep.pt")


def test_a_list_that_holds_itself_is_looked_at_once(tmp_path):
    ring: list = [1.0]
    ring.append(ring)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDigest)
        torch.save({"ring": ring}, tmp_path / "ring.pt")
        assert first_non_finite(load_tensors(tmp_path / "ring.pt")) == ""


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    with pytest.raises(UserError, match="is a folder; expected a regular file"):
        load_tensors(tmp_path)
