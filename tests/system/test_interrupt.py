"""Ctrl-C asks once and insists the second time."""

import os
import signal
import threading

import pytest

from dnas.system.interrupt import stop_request


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with stop_request():
        assert signal.getsignal(signal.SIGINT) != before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in before} == before
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


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
