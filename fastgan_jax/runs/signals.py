"""Signals that ask a run to stop."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SWALLOWING = ("_xla_gc_callback", "__del__")  # functions whose exceptions Python prints and ignores; the first is JAX's
RETRY_SECONDS = 0.05

log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where there is nothing to save: it ends the process as Ctrl-C does."""

    signal_number = signal.SIGTERM


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM raise `Terminated`, and Ctrl-C KeyboardInterrupt, so that what is open is closed; none gets lost."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_name in SWALLOWING:
                threading.Timer(RETRY_SECONDS, signal.raise_signal, [number]).start()
                return
            frame = frame.f_back
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # elsewhere signals never arrive
        yield
        return
    taken = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}  # unless others are there
    before = {number: usual for number, usual in taken.items() if signal.getsignal(number) == usual}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


class StopSignals:
    """While active, SIGTERM and Ctrl-C are only recorded in `received`; a second one acts as usual."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere signals never arrive
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _note(self, number: int, frame: object) -> None:
        self.received = number
        self._restore()
        log.warning("%s: saving before stopping; once more stops without", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
