"""What all tools share: arguments, checks of them, and how errors and progress are shown."""

import argparse
import contextlib
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError

LARGEST_SEED = 2**32 - 1
MOST_SEEDS = 1_000_000  # a range beyond it is a slip of the keyboard
SHOWN_AFTER_SECONDS = 2
LINE_SECONDS = 15  # between lines of progress where there is no terminal


def tool_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose help ends with examples."""
    return argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_run_arguments(parser: argparse.ArgumentParser, *, out: str) -> None:
    """Adds --run, --out (whose help is `out`), --step and --overwrite."""
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, or one checkpoint's folder")
    parser.add_argument("--out", required=True, metavar="PATH", help=out)
    parser.add_argument("--step", default="latest", metavar="STEP", help="latest (default), best, or an iteration")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run_tool(
    parse: Callable[[list[str] | None], argparse.Namespace],
    run: Callable[[argparse.Namespace], None],
    argv: list[str] | None = None,
) -> int:
    """Runs a tool and returns its exit code: 0 done, 2 bad input or files (one line on stderr), 130 after Ctrl-C."""
    arguments = parse(argv)
    if "jax" not in sys.modules and (cache := compilation_cache()):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the disk is full, a file may not be written
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except RuntimeError as error:  # among them XLA's, which only jax could name
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = getattr(arguments, "batch_size", None)
        option, cure = (
            ("", "end other programs on it") if size is None else (f"--batch-size {size}: ", "give a smaller one")
        )
        print(f"error: {option}the device's memory is not enough: {cure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def compilation_cache() -> Path | None:
    """The folder of compiled programs, which a second start need not compile again; None if there can be none."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgan_jax" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def read_step(text: str) -> int | str:
    """The checkpoint that --step names.

    Raises:
        UserError: if it is neither latest, best nor a number.
    """
    if text in ("latest", "best"):
        return text
    if not text.isdecimal():
        raise UserError(f"--step {text}: give latest, best or an iteration")
    return int(text)


def read_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Seeds from numbers and ranges joined by commas: "0,3,7-9" is 0, 3, 7, 8, 9.

    Raises:
        UserError: if there is none, or something else, or more than MOST_SEEDS.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= LARGEST_SEED:
            raise UserError(f"{option} {text}: give numbers from 0 to {LARGEST_SEED} and ranges, such as 0,3,7-9")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise UserError(f"{option} {text}: these are more than {MOST_SEEDS} seeds; give fewer")
        seeds.extend(range(first, last + 1))
    return seeds


def check_seed(seed: int, option: str = "--seed") -> int:
    """The seed itself.

    Raises:
        UserError: if it is not from 0 to LARGEST_SEED.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{option} {seed}: give a number from 0 to {LARGEST_SEED}")
    return seed


def check_truncation(truncation: float) -> float:
    """The factor itself.

    Raises:
        UserError: if it is negative or no number.
    """
    if not 0 <= truncation < math.inf:
        raise UserError(f"--truncation {truncation:g}: give 0 or more; 1 changes nothing")
    return truncation


def check_positive(**options: int | None) -> None:
    """Checks that options (num=3 is --num 3) are at least 1; None was not given.

    Raises:
        UserError: naming the first that is not.
    """
    for name, value in options.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: give at least 1")


def check_label(label: int | None, num_classes: int) -> int | None:
    """The class that --label names for all pictures of a model with `num_classes` classes (0: unconditional).

    Raises:
        UserError: if a conditional model got none, or an unconditional one, or there is no such class.
    """
    if num_classes and (label is None or not 0 <= label < num_classes):
        given = "this model is conditional" if label is None else f"--label {label}: there is no such class"
        raise UserError(f"{given}; give --label from 0 to {num_classes - 1}")
    if label is not None and not num_classes:
        raise UserError(f"--label {label}: this model is unconditional; leave --label out")
    return label


def check_outputs(paths: Iterable[str | Path], overwrite: bool, option: str = "--out") -> None:
    """Checks that files can be written and, without `overwrite`, that none is there.

    Raises:
        UserError: naming the first that is there or is a folder, or whose folder is a file or may not be written.
    """
    for path in map(Path, paths):
        if path.is_dir():
            raise UserError(f"{path} is a folder: choose another {option}")
        if path.exists() and not overwrite:
            raise UserError(f"{path} is there already: choose another {option}, or add --overwrite")
        for folder in path.parents:
            if folder.exists():
                if not folder.is_dir():
                    raise UserError(f"{path} cannot be written, since {folder} is no folder: choose another {option}")
                if not os.access(folder, os.W_OK):
                    raise UserError(f"{path} cannot be written, since {folder} is read-only: choose another {option}")
                break


@contextlib.contextmanager
def announced(text: str) -> Iterator[None]:
    """Says on stderr what is being done, if that takes longer than SHOWN_AFTER_SECONDS."""
    timer = threading.Timer(SHOWN_AFTER_SECONDS, print, (f"{text} ...",), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def progress(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    title: str,
    unit: str = "it",
    passing: bool = False,
) -> Any:
    """A tqdm bar on a terminal, elsewhere a line every LINE_SECONDS; on stderr. Without items, call `update`.

    A `passing` bar comes after SHOWN_AFTER_SECONDS and goes when it is full.
    """
    if total is None and isinstance(items, Sequence):
        total = len(items)
    if not sys.stderr.isatty():
        return _Lines(items, total, title)
    from tqdm import tqdm

    delay = SHOWN_AFTER_SECONDS if passing else 0
    return tqdm(items, total=total, desc=title, unit=unit, leave=not passing, delay=delay)


class _Lines:
    """The part of tqdm that tools use, as plain lines."""

    def __init__(self, items: Iterable[Any] | None, total: int | None, title: str):
        self._items, self._total, self._title = items, total, title
        self._done, self._shown_at = 0, time.monotonic()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for item in self._items or ():
            yield item
            self.update()

    def update(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._shown_at >= LINE_SECONDS:
            self._shown_at = time.monotonic()
            total = "" if self._total is None else f"/{self._total}"
            print(f"{self._title} {self._done}{total}", file=sys.stderr, flush=True)
