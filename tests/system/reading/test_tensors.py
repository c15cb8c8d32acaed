"""Files of tensors: what torch wrote comes back, everything else is named."""

import pickle
import zipfile

import pytest
import torch

from dnas.system.errors import UserError
from dnas.system.reading import read_tensors


def test_what_torch_wrote_comes_back(tmp_path):
    state = {"w": torch.arange(6.0).view(2, 3), "step": 3, "names": ["a"]}
    torch.save(state, tmp_path / "a.pt")
    back = read_tensors(tmp_path / "a.pt")
    assert torch.equal(back.pop("w"), state.pop("w"))
    assert back == state


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(UserError, match=r"b\.pt is damaged or no checkpoint of dnas: it is compressed"):
        read_tensors(tmp_path / "b.pt")


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"a": 1}), b"x" * 1000])
def test_what_is_no_archive_of_torch_is_named(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pt is damaged or no checkpoint of dnas: "):
        read_tensors(tmp_path / "a.pt")


def test_objects_are_refused(tmp_path):
    torch.save({"a": Harmless()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt is damaged or no checkpoint of dnas: Weights only load failed"):
        read_tensors(tmp_path / "a.pt")


class Harmless:
    """An object that is no plain data."""
