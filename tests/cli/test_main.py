"""How the command ends: its exit status and what it says."""

import os
import signal
import warnings
from importlib import import_module

import pytest
import torch

from dnas.cli import main
from dnas.cli.notes import one_line_for_files_without_digest
from dnas.system.digest import NoDigest
from dnas.system.errors import UserError
from dnas.system.interrupt import Interrupted, stop_request
from tests.support.cli import dnas


def ends_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command end with an error."""

    def carry_out(words: object) -> int:
        raise error

    monkeypatch.setattr(import_module("dnas.cli.main"), "carry_out", carry_out)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Interrupted("It was stopped and saved."), 130, "\nIt was stopped and saved.\n"),
        (KeyboardInterrupt(), 130, "\nStopped.\n"),
        (UserError("so\n  many   words"), 2, "dnas: so many words\n"),
        (UserError(""), 2, "dnas: UserError\n"),
        (PermissionError(13, "Permission denied", "runs"), 2, "dnas: [Errno 13] Permission denied: 'runs'\n"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB."),
            2,
            "dnas: Out of memory (2.50 GiB more were needed). "
            "Lower --batch_size, --image_size, --channels or --cells.\n",
        ),
    ],
)
def test_the_exit_status_and_the_line_tell_how_a_command_ended(monkeypatch, error, code, said):
    ends_with(monkeypatch, error)
    ended = dnas("search", "--data", "digits")
    assert (ended.code, ended.err) == (code, said)


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_any_command_with_the_status_that_shells_give_it(monkeypatch, number, status):
    def carry_out(words: object) -> int:
        if words == ["at once"]:
            os.kill(os.getpid(), signal.Signals[number])
        with stop_request() as request:
            os.kill(os.getpid(), signal.Signals[number])
            assert request.made
        raise Interrupted("It was stopped and saved.")

    monkeypatch.setattr(import_module("dnas.cli.main"), "carry_out", carry_out)
    assert (dnas("at once").code, dnas("at once").err) == (status, "\nStopped.\n")
    assert dnas("between steps").code == status
    ends_with(monkeypatch, KeyboardInterrupt())
    assert dnas("anything").code == 130  # nothing of the signal before is left


def test_out_of_memory_on_a_cpu_says_about_how_much_would_fit(monkeypatch):
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
    ends_with(monkeypatch, RuntimeError(words))
    assert "or --cells: at most about 90% of the batch would fit, as memory grows with it." in dnas("search").err


def test_out_of_memory_on_a_gpu_says_about_how_much_would_fit(monkeypatch):
    ends_with(
        monkeypatch,
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.00 GiB "
            "is free. Of the allocated memory 6.00 GiB is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch "
            "but unallocated."
        ),
    )
    assert dnas("retrain").err == (
        "dnas: Out of memory (3.00 GiB more were needed). Lower --batch_size, --channels or "
        "--cells: at most about 80% of the batch would fit, as memory grows with it.\n"
    )


def test_with_a_variable_set_a_users_mistake_shows_where_it_was_found(monkeypatch):
    ends_with(monkeypatch, UserError("wrong"))
    monkeypatch.setenv("DNAS_TRACEBACK", "1")
    with pytest.raises(UserError, match="wrong"):
        main(["search"])


def test_an_error_of_torch_that_is_no_lack_of_memory_keeps_its_traceback(monkeypatch):
    ends_with(monkeypatch, RuntimeError("a shape does not fit"))
    with pytest.raises(RuntimeError, match="does not fit"):
        main(["search"])


def test_the_first_file_without_a_digest_is_told_and_other_warnings_are_shown(capsys):
    with one_line_for_files_without_digest():
        warnings.warn("a.pt has no digest", NoDigest, stacklevel=1)
        warnings.warn("b.pt has no digest", NoDigest, stacklevel=1)
    assert capsys.readouterr().err == "Note: a.pt has no digest\n"
