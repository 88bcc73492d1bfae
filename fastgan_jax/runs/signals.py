"""Signals that ask a run to stop."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM, where there is nothing to save: it ends the process as Ctrl-C does."""

    signal_number = signal.SIGTERM


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM raise `Terminated`, so that what is open is closed."""

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # elsewhere signals never arrive
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
