"""Kernels where numba is missing or does not fit, and parts of a batch."""

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from dnas.kernels import compiled, images
from dnas.system.threads import num_threads


def test_without_numba_and_with_an_old_one_the_reason_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert compiled.why_not.__wrapped__() == "numba is not installed (`pip install 'dnas[cpu]'`)"
    monkeypatch.undo()
    pytest.importorskip("numba")
    assert compiled.why_not.__wrapped__() is None
    monkeypatch.setattr(compiled, "version", lambda name: "0.60.0")
    assert compiled.why_not.__wrapped__() == "numba 0.60.0 is older than 0.61 (`pip install --upgrade numba`)"


def test_compiled_kernels_are_kept_only_where_a_folder_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled.cache_folder.__wrapped__() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "folder"))
    folder = compiled.cache_folder.__wrapped__()
    assert folder is not None and folder.is_dir() and folder.parent == tmp_path / "folder" / "dnas"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_parts_of_a_batch_are_all_images_once_and_in_order(threads: int):
    with num_threads(threads):
        parts = images.in_parts(lambda begin, end: list(range(begin, end)), 7)
    assert len(parts) == threads
    assert [image for part in parts for image in part] == list(range(7))
