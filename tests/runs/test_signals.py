"""Ctrl-C and SIGTERM become exceptions that are not lost."""

import os
import signal
import threading
import time

import pytest

from fastgan_jax.runs.signals import StopSignals, Terminated, interruptible


@pytest.fixture(autouse=True)
def usual_handlers():
    """Those of a process of its own."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    assert {number: signal.getsignal(number) for number in usual} == usual, "they are put back"
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (signal.SIGHUP, Terminated)],
)
def test_a_signal_raises(number, expected):
    with pytest.raises(expected) as raised, interruptible():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert getattr(raised.value, "signal_number", signal.SIGINT) == number


def test_a_hangup_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible(), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_signal_is_not_lost_where_python_ignores_exceptions():
    class Closing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            closed.append(1)

    closed = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        Closing()
        assert closed == [1]
        for _ in range(1000):
            time.sleep(0.01)


def test_other_handlers_stay():
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    with interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_while_a_run_iterates_signals_are_noted_once():
    with interruptible(), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == signal.SIGHUP
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)


def test_other_threads_do_without():
    done = []

    def work() -> None:
        with interruptible():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
