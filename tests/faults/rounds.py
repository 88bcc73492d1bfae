"""The faults: each disturbs a run and says what it found in its `Outcome`."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .program import (
    ITERATIONS,
    TEMPORARY,
    Outcome,
    Process,
    Reference,
    check_ending,
    is_writing,
    newest_step,
)

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
LAST = 2 * (ITERATIONS // 2)  # the last checkpoint
MIDDLE = ITERATIONS // 2

# What shows on stderr or on disk once a phase of a run has begun.
PHASES: dict[str, Callable[[Path, str], bool]] = {
    "starting": lambda run, text: bool(text),  # before, Python begins, and the system ends the process
    "compiling": lambda run, text: "parameters in the generator" in text,
    "drawing the first samples": lambda run, text: "compiled in" in text,
    "writing the first checkpoint": lambda run, text: is_writing(run, 0),
    "iterating": lambda run, text: "first 1 iteration" in text,
    "writing a checkpoint": lambda run, text: is_writing(run, MIDDLE),
    "the last iteration": lambda run, text: lines_of_metrics(run) >= ITERATIONS - 1,
    "writing the last checkpoint": lambda run, text: is_writing(run, LAST),
    "writing the report": lambda run, text: "finished:" in text,
}


def lines_of_metrics(run: Path) -> int:
    """How many lines metrics.jsonl has."""
    with contextlib.suppress(FileNotFoundError):
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def killed(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """kill -9 once or twice, at any moment, half of them while a checkpoint is written; then to the end."""
    for _ in range(draw.randint(1, 2)):
        process = Process(run)
        if draw.random() < 0.5:
            step = draw.choice(
                [step for step in range(0, ITERATIONS + 1, 2) if step > (newest_step(run) or -1)] or [LAST]
            )
            process.until(lambda _, step=step: is_writing(run, step))
            time.sleep(draw.random() * 0.3)
        else:
            due = time.monotonic() + draw.random() * reference.seconds
            process.until(lambda _, due=due: time.monotonic() > due)
        process.stop()
        if "Traceback" in process.text:
            outcome.tracebacks.append(process.text)
    reference.finish(run, outcome)


def signaled(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """A signal in any phase: one line, the exit code of the signal; then to the end."""
    signal_in(draw.choice([*PHASES]), draw.choice(SIGNALS), reference, run, outcome, draw.random() * 0.3)


def signal_in(phase: str, number: int, reference: Reference, run: Path, outcome: Outcome, seconds: float = 0.0) -> None:
    """One signal so long after a phase has begun."""
    outcome.name += f" ({signal.Signals(number).name}, {phase})"
    process = Process(run)
    process.until(lambda text: PHASES[phase](run, text))
    time.sleep(seconds)
    process.send(number)
    code, text = process.wait(), process.text
    finished = newest_step(run) == ITERATIONS
    check_ending(outcome, code, text, code if finished and code == 0 else 128 + number)
    last = text.strip().splitlines()[-1] if text.strip() else ""
    saved = re.search(r"iteration (\d+) of \d+ is saved", last)
    if code and not (last == "stopped" or saved):
        outcome.other.append(f"the last line is {last!r}")
    if saved and newest_step(run) != int(saved[1]):
        outcome.lost.append(f"{last}, but the newest checkpoint is {newest_step(run)}")
    reference.finish(run, outcome)


def damaged(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """A file of the newest checkpoint is cut off, deleted or has another byte: that one or the one before is used."""
    stopped_in_the_middle(run, outcome)
    newest = newest_step(run)
    files = sorted(file for file in (run / "checkpoints" / str(newest)).rglob("*") if file.is_file())
    file = draw.choice([file for file in files if file.stat().st_size] or files)
    content, kind = file.read_bytes(), draw.choice(("cut", "deleted", "changed"))
    if kind == "deleted":
        file.unlink()
    else:
        place = draw.randrange(len(content))
        other = bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]
        file.write_bytes(content[:place] + (other if kind == "changed" else b""))
    outcome.name += f" ({file.relative_to(run / 'checkpoints')} {kind})"
    one = Outcome(outcome.name)
    text = reference.finish(run, one)
    resumed = re.search(r"resumed from iteration (\d+)", text)
    if resumed and int(resumed[1]) < newest:  # which is right, if a line says so and nothing is deleted
        one.lost.clear()
        if "going on from the older checkpoint" not in text or not (run / f"checkpoints/{newest}.damaged").exists():
            one.other.append(f"no line says that checkpoint {newest} is set aside: {text}")
    for name in ("lost", "corrupted", "tracebacks", "other"):
        getattr(outcome, name).extend(getattr(one, name))


def stopped_in_the_middle(run: Path, outcome: Outcome) -> None:
    """A run that has been stopped between its first and last checkpoint."""
    process = Process(run)
    process.until(lambda _: (newest_step(run) or 0) >= MIDDLE)
    process.send(signal.SIGTERM)
    code, text = process.wait(), process.text
    check_ending(outcome, code, text, 128 + signal.SIGTERM)


def full_disk(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """The disk is full at any time: one line; with more space, the run goes on."""
    whole = sum(file.stat().st_size for file in (reference.folder / "reference").rglob("*") if file.is_file())
    if not can_mount():
        return limited_files(reference, run, draw, outcome)
    size = int(whole * draw.uniform(0.01, 0.9))
    outcome.name += f" ({size} bytes)"
    with small_disk(run, size):
        process = Process(run)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, 0 if code == 0 else 2)
        subprocess.run(["mount", "-o", "remount,size=1g", str(run)], check=True)
        reference.finish(run, outcome)


def limited_files(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """Files may not grow beyond a limit, as with a quota: one line; without it, the run goes on."""
    limit = int(10 ** draw.uniform(3, 6.5))
    outcome.name += f" (files of at most {limit} bytes)"
    process = Process(run, file_limit=limit)
    code, text = process.wait(), process.text
    check_ending(outcome, code, text, 0 if code == 0 else 2)
    reference.finish(run, outcome)


def read_only(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """A run folder that may not be written is refused; then it may."""
    stopped_in_the_middle(run, outcome)
    if not can_mount() and os.geteuid() == 0:
        return  # permissions do not bind root
    writable = reference_mount if can_mount() else changed_mode
    with writable(run):
        process = Process(run)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, 2)
    reference.finish(run, outcome)


@contextlib.contextmanager
def reference_mount(run: Path) -> Iterator[None]:
    """The folder, mounted over itself, read-only."""
    subprocess.run(["mount", "--bind", str(run), str(run)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(run)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(run)], check=True)


@contextlib.contextmanager
def changed_mode(run: Path) -> Iterator[None]:
    """The folders of a run without the right to write."""
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    return os.geteuid() == 0 and bool(shutil.which("mount")) and not os.environ.get("FAULTS_WITHOUT_MOUNTS")


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[None]:
    """A file system of this many bytes at `path`, and all that is on it for this while."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def changed_settings(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """Another model is refused, another state too; other images are said, and training goes on."""
    stopped_in_the_middle(run, outcome)
    newest = newest_step(run)
    for fields, needle in (
        ({"model__ngf": 8}, "model.ngf: 4 in the checkpoint, 8 now"),
        ({"loss__lecam": 0.1}, "loss.lecam"),
    ):
        process = Process(run, **fields)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, 2)
        if needle not in text:
            outcome.other.append(f"{fields}: {text}")
    if newest_step(run) != newest or list(run.glob("checkpoints/*damaged*")):
        outcome.lost.append("the refused start changed the checkpoints")
    process = Process(run, data__demo_images=21, train__iterations=newest + 1)
    code, text = process.wait(), process.text
    check_ending(outcome, code, text, 0)
    if "the images are not those" not in text:
        outcome.other.append(f"nothing is said of other images: {text}")


def two_at_once(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
    """Of two processes on one folder, one is refused."""
    first, second = Process(run), Process(run)
    codes = sorted((first.wait(), second.wait()))
    if codes != [0, 2]:
        outcome.other.append(f"exit codes {codes}")
    for process in (first, second):
        check_ending(outcome, process.wait(), process.text, process.wait())
    if "is in use by process" not in first.text + second.text:
        outcome.other.append(first.text + second.text)
    reference.compare(run, outcome)


def injected(fault: str, expected: int, needle: str, **fields: object) -> Callable[..., None]:
    """A round in which a part of the program fails, which `injected.py` describes, and a line says so."""

    def round_of(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
        process = Process(run, inject=fault, **fields)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, expected)
        if needle not in text:
            outcome.other.append(f"{needle!r} is not said: {text}")
        if fields:
            shutil.rmtree(run)  # a streamed set rounds otherwise
        reference.finish(run, outcome)

    round_of.__name__ = fault
    return round_of


def storage_fails(fault: str, expected: int, needle: str) -> Callable[..., None]:
    """The same for a fault when a run is resumed: nothing is renamed."""

    def round_of(reference: Reference, run: Path, draw: random.Random, outcome: Outcome) -> None:
        stopped_in_the_middle(run, outcome)
        before = sorted(path.name for path in (run / "checkpoints").iterdir() if TEMPORARY not in path.name)
        process = Process(run, inject=fault)
        code, text = process.wait(), process.text
        check_ending(outcome, code, text, expected)
        if needle not in text:
            outcome.other.append(f"{needle!r} is not said: {text}")
        if expected and sorted(path.name for path in (run / "checkpoints").iterdir()) != before:
            outcome.lost.append("the checkpoints were changed")
        reference.finish(run, outcome)

    round_of.__name__ = fault
    return round_of


stale_share_when_resumed = storage_fails("stale_share", 2, "Stale file handle): the same command later")

STREAMED = {"data__resident": "false"}
ONCE = (  # each once, for it leaves nothing to chance
    *(read_only, changed_settings, two_at_once),
    injected("backward_clock", 0, "finished"),
    injected("no_locks", 0, "cannot be locked"),
    injected("forgetful_folder", 2, "cannot be read back"),
    injected("failing_worker", 2, "Input/output error", **STREAMED),
    injected("worker_without_memory", 2, "memory", **STREAMED),
    injected("no_memory_to_compile", 2, "out of device memory"),
    injected("no_memory_to_run", 2, "out of device memory"),
    stale_share_when_resumed,
    storage_fails("stale_share_for_a_moment", 0, "trying again"),
)
RANDOM = (killed, killed, killed, signaled, signaled, damaged, full_disk, limited_files)  # in turn


def one_round(fault: Callable[..., None], reference: Reference, folder: Path, seed: object) -> Outcome:
    """One round in a run folder of its own, which is deleted if nothing was found."""
    name = fault.__name__.replace("_", " ")
    outcome, started = Outcome(name), time.monotonic()
    run = folder / f"{fault.__name__}-{seed}"
    try:
        fault(reference, run, random.Random(f"{seed}"), outcome)
    except Exception as error:  # noqa: BLE001 (a finding, like others)
        outcome.other.append(f"{type(error).__name__}: {error}")
    outcome.seconds = time.monotonic() - started
    if not outcome.problems:
        shutil.rmtree(run, ignore_errors=True)
        for file in folder.glob(f"{run.name}.*.stderr"):
            file.unlink()
    return outcome
