"""Ctrl-C and SIGTERM become exceptions that are not lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fastgan_jax.runs.signals import StopSignals, Terminated, interruptible

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def usual_handlers():
    """Those of a process of its own."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    assert {number: signal.getsignal(number) for number in usual} == usual, "they are put back"
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises(number):
    with pytest.raises(Terminated) as raised, interruptible():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert raised.value.signal_number == number


def test_ctrl_c_in_code_from_a_string_leaves_the_exit_code(tmp_path, process_environment):
    (tmp_path / "program.py").write_text(
        "import signal, sys\n"
        "from fastgan_jax.runs.signals import interruptible\n"
        "try:\n"
        "    with interruptible():\n"
        "        eval('signal.raise_signal(signal.SIGINT)')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    command = [sys.executable, "-m", "program"]
    environment = process_environment | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 130


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


def test_a_compiled_module_is_imported_to_its_end():
    class ExtensionFileLoader:  # as the import system calls it
        def create_module(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            imported.append(1)

    ExtensionFileLoader.create_module.__code__ = ExtensionFileLoader.create_module.__code__.replace(
        co_qualname="ExtensionFileLoader.create_module"
    )
    imported = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        ExtensionFileLoader().create_module()
        for _ in range(1000):
            time.sleep(0.01)
    assert imported == [1]


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
