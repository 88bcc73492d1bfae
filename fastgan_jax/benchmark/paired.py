"""Timing programs alternately, each in a process of its own that times a block of iterations on request.

On a shared machine, the time of one program drifts by more than two programs differ. Neighboring blocks run under the
same conditions, so that their ratio means more than the ratio of two runs.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.benchmark import results
from fastgan_jax.errors import UserError
from fastgan_jax.runs import config as configuration
from fastgan_jax.utils.files import write_json

MARK = "benchmark: "  # in front of the lines that are answers; libraries may print others
OURS = "fastgan_jax"  # the program of the configuration as given

Overrides = Sequence[tuple[str, str]]  # (field, value) as on a command line


def read_config(path: str | None, overrides: Iterable[tuple[str, str]]) -> Any:
    """The valid configuration of a command line; its source of images need not be set."""
    if path is None:
        raise UserError("no configuration: add --config, such as --config fewshot256")
    config = configuration.load_config(path)
    configuration.apply_overrides(config, overrides)
    configuration.validate(config, check_source=False)
    return config


def limit_cores(cores: int) -> None:
    """Confines this process, and those that it starts, to the first of its cores; call it before libraries load."""
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"--threads {cores}: this system cannot confine a process to cores; leave the option out")
    usable = sorted(os.sched_getaffinity(0))
    if cores > len(usable):
        raise UserError(f"--threads {cores}: this process may use 1 to {len(usable)} cores")
    os.sched_setaffinity(0, usable[:cores])


def answer(timed: Any) -> None:
    """Times a block of N iterations for each line N of standard input and prints its seconds, then the result of all.

    `timed` has the methods `time_block` and `result` of `workload.Runner`. N must be the same in every line.
    """
    seconds, iterations = [], None
    print(f"{MARK}ready", flush=True)
    for line in sys.stdin:
        if not line.strip().isdecimal() or iterations not in (None, int(line)):
            raise UserError(f"{line.strip()!r}: must be a number of iterations, the same in every line")
        iterations = int(line)
        seconds.append(timed.time_block(iterations))
        print(f"{MARK}{seconds[-1]}", flush=True)
    if seconds:
        print(MARK + json.dumps(timed.result(seconds, iterations)), flush=True)


class Side:
    """A process that runs `answer`; `name` is for messages."""

    def __init__(self, name: str, process: subprocess.Popen):
        """Waits until the process is warm."""
        self.name, self._process = name, process
        self._read()

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations."""
        self._process.stdin.write(f"{iterations}\n")
        self._process.stdin.flush()
        return float(self._read())

    def finish(self) -> results.Result:
        """Lets the process end and returns its result."""
        self._process.stdin.close()
        return json.loads(self._read())

    def _read(self) -> str:
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
        code = self._process.wait()
        raise UserError(f"the {self.name} side ended with exit code {code}; its own messages are above")


@contextlib.contextmanager
def started(name: str, command: Sequence[str]) -> Iterator[Side]:
    """Starts a side by its command line; at the end of the block it is killed."""
    # Sides share the device's memory, so none must take most of it beforehand.
    environment, pipe = child_environment(XLA_PYTHON_CLIENT_PREALLOCATE="false"), subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield Side(name, process)
        finally:
            process.kill()


def compare(commands: Mapping[str, Sequence[str]], iterations: int, blocks: int, json_path: Path | None) -> None:
    """Times blocks of programs in turn; who begins changes from block to block. Prints (and writes) the outcome.

    `commands` are {name: program and arguments} of processes that run `answer`. The outcome is "results": {name:
    result}, and "ratios": {name of each but the first: spread of its time over that of the first, block by block}.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(started(name, command)) for name, command in commands.items()]
        for block in range(blocks):
            start = block % len(sides)
            for side in (*sides[start:], *sides[:start]):
                seconds[side.name].append(side.time_block(iterations))
        outcome = {"results": {side.name: side.finish() for side in sides}, "ratios": {}}
    first, *others = seconds
    for name in others:
        ratios = [own / base for own, base in zip(seconds[name], seconds[first], strict=True)]
        outcome["ratios"][name] = results.spread(ratios)
    print(results.markdown([results.cells(one | {"program": name}) for name, one in outcome["results"].items()]))
    print("\n".join(results.ratio_lines(outcome)))
    if json_path:
        write_json(json_path, outcome)


def variations(config_path: str, overrides: Overrides, against: Sequence[str]) -> dict[str, Overrides]:
    """{name: overrides} of a configuration with overrides of its own, and of it with other fields set, all valid.

    `against` has of each variation the fields, as words NAME=VALUE joined by spaces.
    """
    found = {OURS: overrides}
    for words in against:
        changes = [tuple(word.split("=", 1)) for word in words.split()]
        if not changes or any(len(change) == 1 for change in changes):
            raise UserError(f"--against {words!r}: give fields as NAME=VALUE, such as train.precision=bfloat16")
        if f"{OURS}, {words}" in found:
            raise UserError(f"--against {words!r} is given twice")
        found[f"{OURS}, {words}"] = [*overrides, *changes]
        read_config(config_path, found[f"{OURS}, {words}"])
    return found


def command_of(name: str, config_path: str, overrides: Overrides) -> list[str]:
    """The command line that runs `answer` for a configuration, by the name of a command of `fastgan`."""
    words = [f"--config.{name}={value}" for name, value in overrides]
    return [sys.executable, "-m", "fastgan_jax", name, "--config", config_path, *words, "--on-command"]


def child_environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds this package wherever it is started, with these variables set."""
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | variables
