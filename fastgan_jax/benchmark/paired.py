"""Timing programs alternately, each in a process of its own that times a block of iterations on request.

On a shared machine, the time of one program drifts by more than two programs differ. Neighboring blocks run under the
same conditions, so that their ratio means more than the ratio of two runs.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastgan_jax.benchmark import results
from fastgan_jax.benchmark.results import Result, spread
from fastgan_jax.errors import UserError
from fastgan_jax.runs import config as configuration
from fastgan_jax.utils.files import user_path, write_json

MARK = "benchmark: "  # in front of the lines that are answers; libraries may print others
OURS = "fastgan_jax"  # the program of the configuration as given

Overrides = Sequence[tuple[str, str]]  # (field, value) as on a command line


class Timed(Protocol):
    """A program that is timed."""

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations."""

    def result(self, seconds: Sequence[float], iterations: int) -> Result:
        """The result of blocks of so many iterations."""


def read_config(path: str | None, overrides: Iterable[tuple[str, str]]) -> Any:
    """The configuration of a command line; its source of images need not be set.

    Raises:
        UserError: if there is none, or it is not valid.
    """
    if path is None:
        raise UserError("no configuration: add --config, such as --config configs/fewshot256.py")
    config = configuration.load_config(path)
    configuration.apply_overrides(config, overrides)
    configuration.validate(config, check_source=False)
    return config


def limit_cores(cores: int) -> None:
    """Confines this process, and those that it starts, to the first of its cores; call it before libraries load.

    Raises:
        UserError: if there are fewer, or the system cannot do it.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"--threads {cores}: this system cannot confine a process to cores; leave the option out")
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= cores <= len(usable):
        raise UserError(f"--threads {cores}: this process may use 1 to {len(usable)} cores")
    os.sched_setaffinity(0, usable[:cores])


def answer(timed: Timed, lines: Iterable[str] | None = None) -> None:
    """Times a block of N iterations for each line N and prints its seconds; at the end, prints the result of all.

    Args:
        timed: the program.
        lines: the requests, all with the same N; None: standard input.

    Raises:
        UserError: for any other line.
    """
    seconds, iterations = [], None
    print(f"{MARK}ready", flush=True)
    for line in lines or sys.stdin:
        if not line.strip().isdecimal() or iterations not in (None, int(line)):
            raise UserError(f"{line.strip()!r}: must be a number of iterations, the same in every line")
        iterations = int(line)
        seconds.append(timed.time_block(iterations))
        print(f"{MARK}{seconds[-1]}", flush=True)
    if seconds:
        print(MARK + json.dumps(timed.result(seconds, iterations)), flush=True)


class Side:
    """A process that runs `answer`."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None):
        """Starts the process and waits until it is warm.

        Args:
            name: for messages.
            command: program and arguments.
            environment: variables to set besides those of `child_environment`.

        Raises:
            UserError: if the process ends instead.
        """
        self.name = name
        variables = child_environment(**(environment or {}))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
        )
        try:
            self._answer()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations."""
        self.process.stdin.write(f"{iterations}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def finish(self) -> Result:
        """Lets the process end and returns its result."""
        self.process.stdin.close()
        result = json.loads(self._answer())
        self.process.wait()
        return result

    def stop(self) -> None:
        """Kills the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()

    def _answer(self) -> str:
        for line in self.process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
        code = self.process.wait()
        raise UserError(f"the {self.name} side ended with exit code {code}; its own messages are above")


def alternate(sides: Sequence[Side], iterations: int, blocks: int) -> dict[str, Any]:
    """Times blocks in turn.

    Who begins changes from block to block.

    Returns:
        "results": {name of each side: its result}; "ratios": {name of each but the first: spread of its time over that
        of the first, block by block}.
    """
    first, *others = sides
    ratios: dict[str, list[float]] = {side.name: [] for side in others}
    for block in range(blocks):
        start = block % len(sides)
        seconds = {side.name: side.time_block(iterations) for side in (*sides[start:], *sides[:start])}
        for side in others:
            ratios[side.name].append(seconds[side.name] / seconds[first.name])
    finished = {side.name: side.finish() for side in sides}
    return {"results": finished, "ratios": {name: spread(values) for name, values in ratios.items()}}


def compare(commands: Mapping[str, Sequence[str]], iterations: int, blocks: int, json_path: str | Path | None) -> None:
    """Starts programs that run `answer`, times them in turn, and prints (and writes) results and ratios.

    Args:
        commands: {name: program and arguments}; the others are compared with the first.
        iterations: in a block.
        blocks: of each program.
        json_path: also write what `alternate` returns here.
    """
    # They share the device's memory, so none must take most of it beforehand.
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(Side(name, command, environment)) for name, command in commands.items()]
        outcome = alternate(sides, iterations, blocks)
    rows = (result | {"program": name} for name, result in outcome["results"].items())
    print(results.markdown([results.cells(row) for row in rows]))
    print("\n".join(results.ratio_lines(outcome)))
    if json_path:
        write_json(user_path(json_path), outcome)


def variations(config_path: str, overrides: Overrides, against: Sequence[str]) -> dict[str, Overrides]:
    """The configuration of a command line, and the same with other fields set: {name: overrides}.

    Args:
        config_path: of the configuration.
        overrides: its own.
        against: of each variation the fields, as words NAME=VALUE joined by spaces.

    Raises:
        UserError: if a configuration is not valid.
    """
    found = {OURS: overrides}
    for words in against:
        if not words.strip() or any("=" not in word for word in words.split()):
            raise UserError(f"--against {words!r}: give fields as NAME=VALUE, such as train.precision=bfloat16")
        if f"{OURS}, {words}" in found:
            raise UserError(f"--against {words!r} is given twice")
        changes = [(name, value) for name, _, value in (word.partition("=") for word in words.split())]
        read_config(config_path, [*overrides, *changes])
        found[f"{OURS}, {words}"] = [*overrides, *changes]
    return found


def command_of(name: str, config_path: str, overrides: Overrides) -> list[str]:
    """The command line that runs `answer` for a configuration, by the name of a command of `fastgan`."""
    words = [f"--config.{name}={value}" for name, value in overrides]
    return [sys.executable, "-m", "fastgan_jax", name, "--config", config_path, *words, "--on-command"]


def child_environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds this package wherever it is started, with these variables set."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | variables
