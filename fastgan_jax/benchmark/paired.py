"""Timing programs alternately, each in a process of its own that times a block whenever it is told to.

On machines that others use too, times of one program drift by more than programs differ; neighboring blocks share the
circumstances, so their ratio means more than the ratio of two runs.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastgan_jax.benchmark import results as report
from fastgan_jax.benchmark.results import Result, spread
from fastgan_jax.errors import UserError
from fastgan_jax.runs import config as configuration

MARK = "benchmark: "  # in front of the lines that are answers; libraries may print others


class Timed(Protocol):
    """A program that is timed."""

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations."""

    def result(self, seconds: Sequence[float], iterations: int) -> Result:
        """What blocks of so many iterations say."""


def read_config(path: str | None, overrides: Iterable[tuple[str, str]]) -> Any:
    """The configuration that a command line names.

    Raises:
        UserError: if it names none, or one that is not valid.
    """
    if path is None:
        raise UserError("nothing to time: add --config FILE, such as configs/fewshot256.py")
    config = configuration.load_config(path)
    configuration.apply_overrides(config, overrides)
    configuration.validate(config, check_source=False)
    return config


def check_counts(iterations: int, blocks: int) -> None:
    """Raises UserError unless there is something to time."""
    for name, value in (("iterations", iterations), ("blocks", blocks)):
        if value < 1:
            raise UserError(f"--{name} {value}: at least 1 is needed")


def limit_cores(cores: int) -> None:
    """Confines this process, and those that it starts, to the first of its cores; to be called before libraries load.

    Raises:
        UserError: if there are not so many, or the system cannot do it.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"--threads {cores}: this system cannot confine a process to cores; leave the option out")
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= cores <= len(usable):
        raise UserError(f"--threads {cores}: this process may use 1 to {len(usable)} cores")
    os.sched_setaffinity(0, usable[:cores])


def answer(timed: Timed, lines: Iterable[str] | None = None) -> None:
    """Times a block of N iterations for each line N, and prints seconds; at the end, prints the result of them all.

    Args:
        timed: what is timed.
        lines: the commands, all with the same N; None: standard input.

    Raises:
        UserError: for another command.
    """
    seconds, iterations = [], None
    print(f"{MARK}ready", flush=True)
    for line in lines or sys.stdin:
        if not line.strip().isdecimal() or iterations not in (None, int(line)):
            raise UserError(f"{line.strip()!r}: a command is a number of iterations, always the same")
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
            name: what messages call it.
            command: program and arguments.
            environment: variables to set besides those of this process.

        Raises:
            UserError: if it ends instead.
        """
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
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
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            stream.close()

    def _answer(self) -> str:
        for line in self.process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
        code = self.process.wait()
        raise UserError(f"the {self.name} side ended with exit code {code}; what it said is above")


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
    results = {side.name: side.finish() for side in sides}
    return {"results": results, "ratios": {name: spread(values) for name, values in ratios.items()}}


def compare(commands: Mapping[str, Sequence[str]], iterations: int, blocks: int, json_path: str | None) -> None:
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
    print(report.markdown_header())
    for name, result in outcome["results"].items():
        print(report.markdown_row(result | {"program": name}))
    print("\n".join(report.ratio_lines(outcome)))
    if json_path:
        report.write_json(json_path, outcome)


def commands_of(
    tool: Path, config_path: str, overrides: Sequence[tuple[str, str]], against: Sequence[str]
) -> dict[str, list[str]]:
    """Commands that time a configuration, and the same with other fields set, for `compare`.

    Args:
        tool: the file tools/benchmark.py.
        config_path: of the configuration.
        overrides: its (name, value).
        against: of each other side, words NAME=VALUE.

    Raises:
        UserError: if a side's configuration is not valid.
    """

    def command(fields: Sequence[tuple[str, str]]) -> list[str]:
        words = [f"--config.{name}={value}" for name, value in fields]
        return [sys.executable, str(tool), "--config", config_path, *words, "--on-command"]

    commands = {"fastgan_jax": command(overrides)}
    for words in against:
        changes = [(name, value) for name, _, value in (word.partition("=") for word in words.split())]
        if not changes or any("=" not in word for word in words.split()):
            raise UserError(f"--against {words!r}: fields are NAME=VALUE, such as train.precision=bfloat16")
        if f"fastgan_jax, {words}" in commands:
            raise UserError(f"--against {words!r} is given twice")
        read_config(config_path, [*overrides, *changes])
        commands[f"fastgan_jax, {words}"] = command([*overrides, *changes])
    return commands
