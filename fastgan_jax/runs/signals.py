"""Signals that ask a run to stop: SIGTERM, SIGHUP (a terminal that was closed) and SIGINT (Ctrl-C)."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SWALLOWING = ("_xla_gc_callback", "__del__")  # functions whose exceptions Python prints and ignores; the first is JAX's
EXTENSIONS = "ExtensionFileLoader."  # the class that imports compiled modules: those of JAX may crash on an exception
RETRY_SECONDS = 0.05
# What asks a run to stop: the system or a scheduler, a terminal that was closed, and Ctrl-C.
STOPPING = {
    number: usual
    for name, usual in (("SIGTERM", signal.SIG_DFL), ("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler))
    if (number := getattr(signal, name, None)) is not None  # some systems have no SIGHUP
}

log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """A signal that ends the process, where there is nothing to save.

    For Ctrl-C too it is not KeyboardInterrupt itself: once that has passed through code which Python compiles from a
    string, as for every named tuple, a process of `python -m` ends by SIGINT, also when it was caught.
    """

    def __init__(self, signal_number: int):
        super().__init__()
        self.signal_number = signal_number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM, SIGHUP and Ctrl-C raise `Terminated`: what is open is closed; none gets lost.

    A signal that the process was started to ignore, as SIGHUP under nohup, or that has another handler, stays as it is.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_name in SWALLOWING or frame.f_code.co_qualname.startswith(EXTENSIONS):
                threading.Timer(RETRY_SECONDS, signal.raise_signal, [number]).start()
                return
            frame = frame.f_back
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():  # elsewhere signals never arrive
        yield
        return
    before = {number: usual for number, usual in STOPPING.items() if signal.getsignal(number) == usual}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


class StopSignals:
    """While active, SIGTERM, SIGHUP and Ctrl-C are only recorded in `received`; a second one acts as usual."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # elsewhere signals never arrive
            ignored = {number for number in STOPPING if signal.getsignal(number) == signal.SIG_IGN}
            heard = STOPPING.keys() - (ignored - {signal.SIGTERM, signal.SIGINT})  # nohup ignores SIGHUP
            self._previous = {number: signal.signal(number, self._note) for number in heard}
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
