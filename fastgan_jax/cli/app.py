"""The program `fastgan`: finds a command, parses its arguments, runs it, and turns errors into one line.

A command is a module of this package with a docstring, EXAMPLES, `add_arguments(parser)` and `run(arguments)`, which
returns the exit code, None for 0. Its name is the module's, with dashes. What takes long to import, it imports inside
`run`: so --help answers at once.
"""

import argparse
import difflib
import functools
import importlib
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from fastgan_jax import __version__, cli
from fastgan_jax.cli.options import Parser, fetch_run, split_overrides
from fastgan_jax.errors import UserError
from fastgan_jax.runs.signals import interruptible
from fastgan_jax.utils.console import escape_output, leave, nobody_reads, say, show_log, silence
from fastgan_jax.utils.hosts import is_one_of_several

CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell counts
OVERVIEW = """usage: fastgan COMMAND ...      (or: python -m fastgan_jax COMMAND ...)

Trains FastGAN on a small set of images, and works with the trained model.

{commands}

fastgan COMMAND --help describes a command. To begin:
  fastgan train --preset demo                                # needs no images, five to ten minutes
  fastgan look /my/images --out sheet.png                    # advice on images, time and memory
  fastgan train /my/images --workdir runs/mine
  fastgan sample --run runs/mine --num 16 --out samples.png"""


def to_the_last_line(function: Callable[..., int]) -> Callable[..., int]:
    """Lets a function that returns an exit code write out stdout too; where nobody reads that, it ends quietly."""

    @functools.wraps(function)
    def complete(*arguments: Any, **options: Any) -> int:
        code = 0
        try:
            try:
                code = function(*arguments, **options)
                return code
            finally:
                print(end="", flush=True)
        except OSError as error:  # stdout's, since `run_command` handles others
            silence(sys.stdout)
            if code:  # the error was told
                return code
            if isinstance(error, BrokenPipeError):
                return CLOSED_PIPE
            say(f"error: stdout: {error.strerror}")
            return 2

    return complete


@to_the_last_line
def main(argv: Sequence[str] | None = None) -> int:
    """Runs `fastgan COMMAND ...` and returns its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        lines = [f"  {name:17}  {description_of(name)}" for name in command_names()]
        print(OVERVIEW.format(commands="\n".join(lines)))
        return 0
    if name == "--version":
        print(f"fastgan_jax {__version__}")
        return 0
    return run_command(name, rest)


def command_names() -> list[str]:
    """The names of all commands, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(cli.__path__)} - {"app", "options"}
    return sorted(name.replace("_", "-") for name in modules)


def find_command(name: str) -> ModuleType:
    """The module of a command; UserError, with the nearest one, if there is none of this name."""
    names = command_names()
    if name not in names:
        near = difflib.get_close_matches(name.replace("_", "-"), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"must be one of {', '.join(names)}"
        raise UserError(f"there is no command {name}: {hint}")
    return importlib.import_module(f"{cli.__name__}.{name.replace('-', '_')}")


def description_of(name: str) -> str:
    """The first line of a command's docstring, which is empty under python -OO."""
    return (find_command(name).__doc__ or "").partition("\n")[0]


def parse(name: str, argv: Sequence[str], program: str | None = None) -> argparse.Namespace:
    """The arguments of a command; `overrides` are those of --config.NAME=VALUE; UserError for what it does not take."""
    command = find_command(name)
    parser = Parser(prog=program or f"fastgan {name}", description=command.__doc__, epilog=command.EXAMPLES)
    command.add_arguments(parser)
    overrides, rest = split_overrides(argv)
    arguments = parser.parse_args(rest)
    if overrides and not hasattr(arguments, "overrides"):
        parser.error(f"unrecognized arguments: --config.{overrides[0][0]}")
    arguments.overrides = overrides
    return arguments


@to_the_last_line
def run_command(name: str, argv: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Runs a command with `argv`, by default the arguments of this process; its help calls it `program`.

    Returns:
        The exit code: 0 done; 1 training diverged; 2 bad input or files, with one line on stderr; 75 another process of
        the run was lost; 130 after Ctrl-C; 141 if nobody reads stdout any more; 128 + n after another signal n that
        ended training.
    """
    escape_output()
    try:
        arguments = parse(name, sys.argv[1:] if argv is None else argv, program)
        show_log(logging.WARNING)
        with interruptible():
            return _run(find_command(name), arguments) or 0
    except UserError as error:
        message, code = f"error: {error}", 2
    except ModuleNotFoundError as error:  # with requirements-sample.txt, say, what trains is not there
        if not error.name or error.name.partition(".")[0] == __package__.partition(".")[0]:
            raise
        cure = "pip install it, or fastgan_jax with all its requirements"
        if error.name == "fcntl":  # of Unix
            cure = "use WSL2 or Docker (docs/installation.md)"
        message, code = f"error: fastgan {name} needs the package {error.name}, which is not installed: {cure}", 2
    except OSError as error:  # the disk is full, a file may not be written
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise
        message, code = f"error: {_in_words(error)}", 2
    except MemoryError as error:
        message, code = f"error: out of main memory{f' ({error})' if str(error) else ''}: end other programs", 2
    except KeyboardInterrupt as interrupt:
        message, code = "stopped", 128 + getattr(interrupt, "signal_number", signal.SIGINT)
    say(message)
    return code


def _in_words(error: OSError) -> str:
    try:
        os.getcwd()
    except FileNotFoundError:
        if not error.filename:
            return "the current folder has been deleted: change to another one"
    return f"{error.filename or 'a file'}: {error.strerror or error}"


def run_tool(name: str, *, program: str | None = None) -> NoReturn:
    """Runs a command with the arguments of this process, and ends it with the exit code."""
    end(run_command(name, program=program))


def run_program() -> NoReturn:
    """Runs `fastgan` with the arguments of this process, and ends it with the exit code."""
    end(main())


def end(code: int) -> NoReturn:
    """Ends the process, after a signal at once: Python would wait for XLA, which may still compile, or crash."""
    if code > 128 and not is_one_of_several():
        leave(code)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while Python ends: no traceback
    sys.exit(code)


def _run(command: ModuleType, arguments: argparse.Namespace) -> int | None:
    fetch_run(arguments)
    try:
        return command.run(arguments)
    except RuntimeError:  # if it is the device's, jax is imported by now
        from fastgan_jax.utils.devices import driver_advice, memory_advice

        size = getattr(arguments, "batch_size", None)
        with driver_advice(), memory_advice(f"lower --batch-size {size}" if size else "end other programs that use it"):
            raise
