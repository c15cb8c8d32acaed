"""One process at a time writes into a folder."""

import os
import shutil
import threading

import pytest

from dnas.system.atomic import UNFINISHED
from dnas.system.errors import CannotWrite, UserError
from dnas.system.lock import NAME, check_still_there, locked
from tests.support.lock import other_process


def test_a_folder_in_use_is_refused_with_process_and_host_until_that_has_ended(tmp_path):
    other = other_process(tmp_path, "sys.stdin.read()")
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {other.pid} on '.+', since"):
        locked(tmp_path).__enter__()
    other.communicate()
    assert other.returncode == 0
    with locked(tmp_path):
        pass


def test_a_process_that_waits_gets_the_folder_once_the_other_has_ended(tmp_path):
    other = other_process(tmp_path, "import time; time.sleep(0.3)")
    with locked(tmp_path, wait=60.0):
        other.communicate()
        assert other.returncode == 0


def test_the_lock_of_a_killed_process_is_taken_over_with_a_line_and_its_unfinished_files_are_removed(tmp_path):
    other = other_process(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    other.communicate()
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert len(said) == 1
    assert f"process {other.pid} on" in said[0]
    assert "was killed" in said[0]
    assert "1 unfinished file" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_in_a_folder_that_another_process_has_locked_stay(tmp_path):
    other = other_process(tmp_path / "inner", "sys.stdin.read()")
    with locked(tmp_path):
        assert len(list((tmp_path / "inner").glob(f".*{UNFINISHED}"))) == 1
    other.communicate()


def test_the_same_thread_may_lock_again_and_another_may_not(tmp_path):
    refused: list[str] = []

    def work() -> None:
        try:
            with locked(tmp_path):
                pass
        except UserError as error:
            refused.append(str(error))

    with locked(tmp_path), locked(tmp_path):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert "another thread" in refused[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_removed_meanwhile_is_told_and_stays_away(tmp_path):
    folder = tmp_path / "run"
    with locked(tmp_path):
        check_still_there(tmp_path)
    with pytest.raises(UserError, match="was removed"), locked(folder):
        shutil.rmtree(folder)
    assert not folder.exists()


def test_a_folder_that_stays_empty_is_removed_with_those_above_it_that_are_new(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=rf"Cannot write {tmp_path}/file/run/.lock: Not a directory"):
        locked(tmp_path / "file" / "run").__enter__()


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_and_left_alone(tmp_path):
    (tmp_path / "other").write_text("not ours")
    (tmp_path / NAME).symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="symbolic link"):
        locked(tmp_path).__enter__()
    assert (tmp_path / "other").read_text() == "not ours"
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(UserError, match="is no regular file"):
        locked(tmp_path).__enter__()


def test_a_lock_file_that_is_damaged_is_taken_over_all_the_same(tmp_path):
    (tmp_path / NAME).write_text("no JSON")
    said: list[str] = []
    with locked(tmp_path, said.append):
        assert said == [f"Note: another process was killed while it worked in {tmp_path}; its lock is taken over."]
