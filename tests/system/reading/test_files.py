"""Regular files of a bounded size, and a line for everything else."""

import os
import socket

import pytest

from dnas.system.errors import UserError
from dnas.system.reading import open_file, read_bytes, read_text


def test_bytes_and_text_come_back(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\r\nb\xc3\xa4\n")
    assert read_bytes(path) == b"a\r\nb\xc3\xa4\n"
    assert read_text(path) == "a\nbä\n"


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "a"


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere"):
        read_bytes(tmp_path / "nowhere")


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"x\.png is a named pipe; expected a regular file"):
        read_bytes(tmp_path / "x.png")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path has a limit of its own
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x.png")
        with pytest.raises(UserError, match=r"Cannot read 'x\.png'"):
            read_bytes("x.png")


def test_a_device_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="is a device"):
        read_bytes("/dev/zero")
    with pytest.raises(UserError, match="is a folder"):
        read_bytes(tmp_path)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="symbolic links go in a circle"):
        read_bytes(tmp_path / "a")


def test_a_zero_byte_in_a_path_is_refused():
    with pytest.raises(UserError, match="Cannot read"):
        read_bytes("a\0b")


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match=r"1,000,000,000,000 bytes or more; at most 100 are read"):
        read_bytes(tmp_path / "file", most=100)


def test_a_file_that_hides_its_size_is_read_up_to_the_limit():
    with pytest.raises(UserError, match="at most 10 are read"):
        read_bytes("/proc/self/status", most=10)


def test_what_is_no_text_is_named_with_the_byte(tmp_path):
    (tmp_path / "file").write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"file is not UTF-8 text .* at byte 2"):
        read_text(tmp_path / "file")


def test_the_file_is_closed_after_the_block(tmp_path):
    (tmp_path / "file").write_bytes(b"a")
    with open_file(tmp_path / "file") as file:
        assert file.read() == b"a"
    assert file.closed
