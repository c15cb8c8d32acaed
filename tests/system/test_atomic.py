"""A file is written whole or not at all."""

import errno
import os
import subprocess
import sys

import pytest

from dnas.system.atomic import UNFINISHED, write, write_text
from dnas.system.errors import CannotWrite


def test_text_is_written_as_utf_8_into_folders_that_need_not_exist(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "αβγ\n")
    assert path.read_bytes() == "αβγ\n".encode()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old and longer")
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_file_stays_and_nothing_is_left_beside_it_when_filling_fails(tmp_path, error):
    path = tmp_path / "file"
    write_text(path, "old")

    def fill(file) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write(path, fill)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_old_file_stays_when_the_process_is_killed_meanwhile(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    code = f"""
import os, signal
from pathlib import Path
from dnas.system.atomic import write
def fill(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write(Path({str(path)!r}), fill)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert path.read_text() == "old"
    [unfinished] = [name for name in os.listdir(tmp_path) if name != "file"]
    assert unfinished.endswith(UNFINISHED)


def test_a_full_disk_is_told_with_the_file_and_what_was_there_stays(tmp_path):
    path = tmp_path / "last.pt"
    # A limit on the size of files stops a write in the middle, as a full disk does.
    code = f"""
import resource, torch
from pathlib import Path
from dnas.system.atomic import write_text
from dnas.system.tensor_file import load_tensors, save_tensors
path = Path({str(path)!r})
save_tensors(path, {{"weights": torch.ones(8)}})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for work in (lambda: save_tensors(path, {{"weights": torch.zeros(100_000)}}), lambda: write_text(path, 5000 * "x")):
    try:
        work()
    except OSError as error:
        print(error)
print(load_tensors(path)["weights"].sum().item())
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = f"Cannot write {path}: it would be larger than files may be here"
    assert [line[: len(told)] for line in answer.stdout.splitlines()] == [told, told, "8.0"]
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "may not be written")])
def test_the_reason_of_the_system_is_told_with_what_to_do(tmp_path, number, words):
    def fill(file) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(CannotWrite, match=rf"Cannot write {tmp_path}/file: .*{words}"):
        write(tmp_path / "file", fill)
