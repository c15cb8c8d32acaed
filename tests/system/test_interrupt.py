"""Ctrl-C asks once and insists the second time."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading

import pytest

from dnas.system.interrupt import STOPS, stop_request


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sets_the_request_and_raises_nothing(number: int):
    with stop_request() as request:
        assert not request.made
        send(number)
        assert request.made


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_does_not_wait(second: int):
    with stop_request() as request:
        send(signal.SIGINT)
        assert request.made
        with pytest.raises(KeyboardInterrupt):
            send(second)


def test_afterwards_signals_do_what_they_did_before():
    before = {number: signal.getsignal(number) for number in STOPS}
    with stop_request():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in before} == before
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_a_closed_terminal_stays_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request() as request:
            send(signal.SIGHUP)
        assert not request.made
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_written_to_a_closed_terminal_goes_nowhere():
    ours, theirs = os.openpty()
    code = """
import sys, time
from dnas.system.interrupt import stop_request
with stop_request() as request:
    print("ready", flush=True)
    while not request.made:
        time.sleep(0.01)
    print("not seen", flush=True)
sys.exit(7)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, start_new_session=True, preexec_fn=_own_terminal
    )
    os.close(theirs)
    assert os.read(ours, 5) == b"ready"
    os.close(ours)
    assert process.wait(timeout=30) == 7


def _own_terminal() -> None:
    """Make standard input the terminal of this process, whose closing sends SIGHUP."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_an_exception_in_the_block_gives_the_signals_back_and_goes_on():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="inside"), stop_request():
        raise RuntimeError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_of_two_nested_blocks_the_inner_one_hears_the_signal():
    with stop_request() as outer:
        with stop_request() as inner:
            send(signal.SIGINT)
        assert (outer.made, inner.made) == (False, True)
        send(signal.SIGINT)
        assert outer.made


def test_in_another_thread_nothing_changes():
    before, heard = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with stop_request() as request:
            heard.append(request.made)
            heard.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False, True]
