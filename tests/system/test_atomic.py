"""A file is written whole or not at all."""

import os
import subprocess
import sys

import pytest

from dnas.system.atomic import write, write_text


def test_text_is_written_as_utf_8_into_folders_that_need_not_exist(tmp_path):
    path = tmp_path / "a" / "b" / "text.txt"
    write_text(path, "αβγ\n")
    assert path.read_bytes() == "αβγ\n".encode()
    assert oct(path.stat().st_mode & 0o777) == "0o644"


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
