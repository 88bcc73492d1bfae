"""The program under test: runs of the smoke preset in processes, and what must hold after each of them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from fastgan_jax.runs.checkpoint import load_state

ROOT = Path(__file__).resolve().parents[2]
ITERATIONS = 8
SETTINGS = {
    "train.iterations": ITERATIONS,
    "train.log_every": 1,
    "train.sample_every": 4,
    "train.checkpoint_every": 2,
    "train.keep": 2,
    "model.decoders": "",  # what is traced and compiled is what a start costs
    "loss.reconstruction": "l1",
    "augment.policy": "",
}
TEMPORARY = "orbax-checkpoint-tmp"  # in the names of checkpoints that are being written


@dataclass
class Outcome:
    """What a round found: each of its lists must stay empty."""

    name: str
    lost: list[str] = field(default_factory=list)  # an intact checkpoint was not used
    corrupted: list[str] = field(default_factory=list)  # the final state is another one than without the fault
    tracebacks: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)  # a wrong exit code, no line, several lines
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """All of them."""
        return [*self.lost, *self.corrupted, *self.tracebacks, *self.other]


class Process:
    """One start of the program; `text` is its stderr so far."""

    def __init__(self, workdir: Path, *, inject: str = "", file_limit: int | None = None, **fields: object):
        """Starts `fastgan train` in `workdir`.

        Args:
            workdir: the run folder.
            inject: a fault of `injected.py`.
            file_limit: bytes that a file may have.
            fields: of the configuration, "__" for the dot.
        """
        settings = SETTINGS | {name.replace("__", "."): value for name, value in fields.items()}
        inject = f"files_of_at_most:{file_limit}" if file_limit is not None else inject
        entry = ["-m", "tests.faults.injected", inject] if inject else ["-m", "fastgan_jax"]
        options = [f"--config.{name}={value}" for name, value in settings.items()]
        command = [sys.executable, *entry, "train", "--preset", "smoke", "--workdir", str(workdir), *options]
        self._output = workdir.parent / f"{workdir.name}.{time.monotonic_ns()}.stderr"

        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with open(self._output, "w", encoding="utf-8") as file:
            self._popen = subprocess.Popen(command, stderr=file, cwd=ROOT, env=environment)

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def until(self, reached: Callable[[str], bool]) -> bool:
        """Waits until `reached(text)`, or the end: whether it was reached."""
        while not (found := reached(self.text)) and not self.ended:
            time.sleep(0.002)
        return found

    def send(self, number: int) -> None:
        """Sends a signal, if the process still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        return self._popen.wait()

    def stop(self) -> None:
        """Kills the process, if it still runs."""
        self._popen.kill()
        self._popen.wait()


class Reference:
    """The run that nothing disturbs, and comparisons with it."""

    def __init__(self, folder: Path):
        """Makes the run in `folder`, if it is not there."""
        self.folder = folder
        started = time.monotonic()
        if newest_step(folder / "reference") != ITERATIONS:
            process = Process(folder / "reference")
            if process.wait():
                raise RuntimeError(process.text)
        self.seconds = max(10.0, time.monotonic() - started)  # that a run takes
        self._state, self._metrics = state_of(folder / "reference"), metrics_of(folder / "reference")

    def finish(self, run: Path, outcome: Outcome, **options: object) -> str:
        """Starts the run again, which must go on from its newest checkpoint to the undisturbed end; returns stderr."""
        newest = newest_step(run)
        process = Process(run, **options)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, 0)
        resumed = re.search(r"resumed from iteration (\d+)", text)
        if newest is not None and newest < ITERATIONS and not (resumed and int(resumed[1]) == newest):
            outcome.lost.append(f"{newest} was there, went on from {resumed and resumed[1]}")
        if code == 0:
            self.compare(run, outcome)
        return text

    def compare(self, run: Path, outcome: Outcome) -> None:
        """Compares a finished run with this one, bit for bit."""
        state = state_of(run)
        if [name for name in self._state if not np.array_equal(self._state[name], state[name])]:
            outcome.corrupted.append("the final state is another one")
        if metrics_of(run) != self._metrics:
            outcome.corrupted.append("metrics.jsonl is another one")


def check_ending(outcome: Outcome, code: int, text: str, expected: int | None) -> None:
    """Checks an exit code (None: any but 0) and that stderr has no traceback, and its last line says what happened."""
    if "Traceback" in text or "Error:" in text:
        outcome.tracebacks.append(text)
    if code != expected if expected is not None else code <= 0:
        outcome.other.append(f"exit code {code} instead of {'an error' if expected is None else expected}: {text}")
    last = (text.strip().splitlines() or [""])[-1]
    if code == 2 and not last.startswith("error: "):
        outcome.other.append(f"the last line says nothing of the error: {text}")


def newest_step(run: Path) -> int | None:
    """The newest checkpoint on disk."""
    return max((int(path.name) for path in run.glob("checkpoints/*") if path.name.isdecimal()), default=None)


def is_writing(run: Path, step: int | None = None) -> bool:
    """Whether a checkpoint (of this step) is being written."""
    name = "*" if step is None else f"{step}.*"
    return any((run / "checkpoints").glob(f"{name}{TEMPORARY}*"))


def state_of(run: Path) -> dict[str, np.ndarray]:
    """{path: array} of the newest state."""

    def plain(leaf: jax.Array) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    leaves, _ = jax.tree_util.tree_flatten_with_path(load_state(run)[0])
    return {jax.tree_util.keystr(path): plain(leaf) for path, leaf in leaves}


def metrics_of(run: Path) -> list[dict]:
    """The lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "wall_time"} for line in lines]
