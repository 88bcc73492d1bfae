"""What all tools share: arguments, checks of them, and how errors and progress are shown."""

import argparse
import logging
import math
import re
import sys
from collections.abc import Callable

from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import LARGEST_SEED

MOST_SEEDS = 1_000_000  # a range beyond it is a slip of the keyboard


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


def check_truncation(truncation: float) -> float:
    """The factor itself.

    Raises:
        UserError: if it is negative or no number.
    """
    if not 0 <= truncation < math.inf:
        raise UserError(f"--truncation {truncation:g}: give 0 or more; 1 changes nothing")
    return truncation


def check_label(label: int | None, num_classes: int) -> int | None:
    """The class that --label names for all images of a model with `num_classes` classes (0: unconditional).

    Raises:
        UserError: if a conditional model got none, or an unconditional one, or there is no such class.
    """
    if num_classes and (label is None or not 0 <= label < num_classes):
        given = "this model is conditional" if label is None else f"--label {label}: there is no such class"
        raise UserError(f"{given}; give --label from 0 to {num_classes - 1}")
    if label is not None and not num_classes:
        raise UserError(f"--label {label}: this model is unconditional; leave --label out")
    return label
