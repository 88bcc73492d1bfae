"""What the screen says while something takes time: progress, and notices of what is being done. On stderr."""

import atexit
import concurrent.futures
import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn, TypeVar

from fastgan_jax.utils.files import remove_temporary_folder

SHOWN_AFTER_SECONDS = 2
BAR_SECONDS = 0.5  # between updates of a bar
WATCH_SECONDS = 0.1  # between looks at work in a thread
LINE_SECONDS = 15  # between lines where there is no terminal
NOTEBOOK_COLUMNS = 110  # characters of a bar in a notebook
NOTEBOOK_SIDE = 768  # pixels of an image in a notebook, at most: it travels to the browser each time


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: Jupyter, Colab and the like."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


Result = TypeVar("Result")
_bars: list[Any] = []  # those of tqdm that are open


def show_log(level: int) -> None:
    """Shows this package's log messages from `level` up on stderr, unless other handlers of the process show them.

    In a notebook, what counts is whether they appear below the cell: a handler may write to the log of its server.
    """
    seen = (sys.stderr, sys.stdout) if in_notebook() else None
    if not any(
        handler.level <= level and (seen is None or getattr(handler, "stream", None) in seen)
        for handler in logging.root.handlers
    ):
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logging.root.addHandler(handler)
    logging.getLogger("fastgan_jax").setLevel(level)


def escape_output() -> None:
    """Lets stdout write what its encoding lacks as escapes, as stderr does: no result is lost for a name."""
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's stream takes any text
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Writes a line to stderr, above any bar.

    If stderr is gone (a closed terminal, a pipe without a reader), work goes on unseen.
    """
    if sys.stderr is None:
        return
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    bar = next(reversed(_bars), None)
    write = partial(print, flush=True) if bar is None else bar.write
    try:
        write(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    except (OSError, ValueError):  # ValueError: it is closed
        silence(sys.stderr)


def silence(stream: Any) -> None:
    """Lets a stream that cannot be written any more drop what it gets, and what it still holds."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = stream.fileno()
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)


def nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader has ended."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # in a notebook, stdout is no file
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    return False


def on_terminal() -> bool:
    """Whether stderr is a terminal, where lines can change in place; not one without a width, as in some containers."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (AttributeError, ValueError, OSError):  # there is none, or it is closed
        return False


@contextlib.contextmanager
def announced(text: str) -> Iterator[None]:
    """Says what is being done, if that takes longer than SHOWN_AFTER_SECONDS."""
    timer = threading.Timer(SHOWN_AFTER_SECONDS, say, (f"{text} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def muted(name: str) -> Iterator[None]:
    """Keeps warnings of the loggers below `name` from the log, where the same is said again later."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def watched(title: str, function: Callable[[], Result]) -> Result:
    """What `function` returns, while the screen says for how long it has been at work, once that is noticeable.

    It runs in a thread, so that Ctrl-C ends the wait at once, also where the work is in compiled code, such as XLA's. A
    process that ends while the thread is still at work does not wait for it.
    """
    future, thread = _started(function)
    try:
        with _Elapsed(title) as elapsed:
            while not concurrent.futures.wait([future], WATCH_SECONDS).done:
                elapsed.show()
        return future.result()
    except KeyboardInterrupt as interrupt:
        if thread.is_alive():
            atexit.register(_leave_alive, thread, 128 + getattr(interrupt, "signal_number", signal.SIGINT))
        raise


def at_once(*functions: Callable[[], Any]) -> list[Any]:
    """What each function returns, or the error of the first that fails, once all are done; each has a thread."""
    futures = [_started(function)[0] for function in functions]
    concurrent.futures.wait(futures)
    return [future.result() for future in futures]


def _started(function: Callable[[], Result]) -> tuple["concurrent.futures.Future[Result]", threading.Thread]:
    """The future result of a function, and the thread that computes it, for which a process does not wait to end."""
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 (raised again where the result is taken)
            future.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return future, thread


def leave(code: int) -> NoReturn:
    """Ends the process with this exit code, whatever its threads are at."""
    remove_temporary_folder()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _leave_alive(thread: threading.Thread, code: int) -> None:
    """Ends the process with this exit code if the thread is still at work: Python would wait, or crash."""
    if thread.is_alive():
        leave(code)


class _Elapsed:
    """What is being done and for how long: one changing line on a terminal, elsewhere a line now and then."""

    def __init__(self, title: str):
        self._title, self._start, self._next = title, time.perf_counter(), SHOWN_AFTER_SECONDS
        self._bar, self._open = None, contextlib.ExitStack()

    def __enter__(self) -> "_Elapsed":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def show(self) -> None:
        """Shows it, if it is time to."""
        seconds = time.perf_counter() - self._start
        if seconds < self._next:
            return
        if on_terminal():
            self._next += BAR_SECONDS
            if self._bar is None:  # a bar without a total has no truth value
                self._bar = _opened_bar(self._open, bar_format="{desc}", leave=False)
            self._bar.set_description_str(f"{self._title} ... {seconds:.0f} s")
        else:
            say(f"{self._title} ... {seconds:.0f} s")
            self._next += LINE_SECONDS


def _opened_bar(stack: contextlib.ExitStack, **options: Any) -> Any:
    """A bar of tqdm, open as long as `stack`; log lines go above it, not into it."""
    from tqdm import tqdm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a notebook lacks for another kind of bar
        from tqdm.contrib.logging import logging_redirect_tqdm

    bar = stack.enter_context(tqdm(**options))
    stack.enter_context(logging_redirect_tqdm())
    _bars.append(bar)
    stack.callback(_bars.remove, bar)
    return bar


class NotebookImage:
    """An image below a notebook's cell, which each next one replaces; where there is no notebook, nothing."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, image: Any) -> None:
        """Shows uint8 [H, W, C], C = 1, 3 or 4."""
        if not in_notebook():
            return
        from IPython.display import display
        from PIL import Image

        step = -(-max(image.shape[:2]) // NOTEBOOK_SIDE)
        shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).reduce(step)
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


class Progress:
    """A tqdm bar on a terminal or in a notebook, else a line now and then; iterate over it, or enter and `update`."""

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        title: str,
        total: int | None = None,
        initial: int = 0,
        images_per_step: int | None = None,
        passing: bool = False,
    ):
        """Starts the clock.

        Args:
            items: to iterate over.
            title: what is counted, such as "iteration".
            total: how many there are; None: len(items).
            initial: how many are done already.
            images_per_step: shows images per second too.
            passing: a bar that appears after SHOWN_AFTER_SECONDS and goes when it is full.
        """
        self._items, self._title, self._images = items, title, images_per_step
        self._total = len(items) if total is None else total
        self._done = self._shown = initial
        self._shown_at = time.perf_counter()
        self._note, self._bar, self._open = "", None, contextlib.ExitStack()
        if on_terminal() or in_notebook():
            delay = SHOWN_AFTER_SECONDS if passing else 0
            width = {"dynamic_ncols": True} if on_terminal() else {"ncols": NOTEBOOK_COLUMNS}
            options = {"leave": not passing, "delay": delay, "mininterval": BAR_SECONDS, **width}
            self._bar = _opened_bar(self._open, total=self._total, initial=initial, desc=title, **options)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._items:
                yield item
                self.update()

    def note(self, text: str) -> None:
        """Shows this text, such as the latest losses, from the next update on."""
        self._note = text

    def go_back(self, done: int) -> None:
        """Counts on from where fewer are done."""
        if self._bar is not None:
            self._bar.update(done - self._done)
        self._done = self._shown = done
        self._shown_at = time.perf_counter()

    def update(self, count: int = 1) -> None:
        """Counts that so many more are done, and shows it if it is time to."""
        self._done += count
        seconds = time.perf_counter() - self._shown_at
        finished = self._done >= self._total
        if seconds < (LINE_SECONDS if self._bar is None else BAR_SECONDS) and not (finished and self._note):
            if self._bar is not None:
                self._bar.update(count)
            return
        rate = (self._done - self._shown) / max(seconds, 1e-9)
        notes = [self._note] if self._note else []
        notes += [f"{rate * self._images:.1f} images/s"] if self._images else []
        if self._bar is not None:
            self._bar.set_postfix_str("  ".join(notes), refresh=False)
            self._bar.update(count)
        else:
            minutes, left = divmod(round((self._total - self._done) / max(rate, 1e-9)), 60)
            shown = [f"{self._title} {self._done}/{self._total}", f"{rate:.2f}/s", f"{minutes}:{left:02d} left", *notes]
            say("  ".join(shown))
        self._shown, self._shown_at = self._done, time.perf_counter()
