"""The program with one of its parts failing: `python -m tests.faults.injected FAULT train ...`."""

import errno
import itertools
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from fastgan_jax.cli import app


def failing(function: Callable, error: BaseException, calls: range) -> Callable:
    """The function, of which these calls, counted from 0, raise."""
    counter = itertools.count()

    def called(*arguments: Any, **options: Any) -> Any:
        if next(counter) in calls:
            raise error
        return function(*arguments, **options)

    return called


def system_error(number: int) -> OSError:
    """An error of the operating system."""
    return OSError(number, os.strerror(number))


def backward_clock() -> None:
    """Each look at the clock shows an earlier hour."""
    start, looks = time.time(), itertools.count()
    time.time = lambda: start - 3600 * next(looks)


def failing_worker() -> None:
    """A thread that reads batches ahead fails at the fourth."""
    from fastgan_jax.data import feed

    feed.batch_indices = failing(feed.batch_indices, system_error(errno.EIO), range(4, 5))


def worker_without_memory() -> None:
    """A thread that reads batches ahead finds no memory at the fourth."""
    from fastgan_jax.data import feed

    feed.batch_indices = failing(feed.batch_indices, MemoryError(), range(4, 5))


def _out_of_memory() -> Exception:
    import jax

    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12345 bytes")


def no_memory_to_compile() -> None:
    """The compiler finds that the program does not fit."""
    import jax

    jax.stages.Lowered.compile = failing(jax.stages.Lowered.compile, _out_of_memory(), range(10**6))


def no_memory_to_run() -> None:
    """The device's memory ends in the fourth call."""
    from fastgan_jax import train

    compile_program = train.compile_program

    def compiled(*arguments: Any, **named: Any) -> tuple:
        program, needed = compile_program(*arguments, **named)
        return failing(program, _out_of_memory(), range(3, 4)), needed

    train.compile_program = compiled


def stale_share(calls: range = range(10**6)) -> None:
    """A network share does not answer when a checkpoint is read."""
    import orbax.checkpoint as ocp

    from fastgan_jax.runs import checkpoint

    checkpoint.RETRY_SECONDS = (0, 0, 0)
    ocp.CheckpointManager.restore = failing(ocp.CheckpointManager.restore, system_error(errno.ESTALE), calls)


def stale_share_for_a_moment() -> None:
    """The same, but it answers the third time."""
    stale_share(range(2))


def no_locks() -> None:
    """A file system without locks."""
    import fcntl

    fcntl.flock = failing(fcntl.flock, system_error(errno.ENOSYS), range(10**6))


def forgetful_folder() -> None:
    """A folder that does not keep what is written to it."""
    from fastgan_jax.runs.checkpoint import Checkpoints

    wait = Checkpoints.wait

    def forget(self: Checkpoints) -> None:
        wait(self)
        for file in self.directory.glob("*/state/**/d/*"):
            file.write_bytes(bytes(file.stat().st_size))

    Checkpoints.wait = forget


def files_of_at_most(size: str) -> None:
    """A limit on the size of files."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


FAULTS = (
    files_of_at_most,
    *(backward_clock, failing_worker, worker_without_memory, no_memory_to_compile, no_memory_to_run),
    *(stale_share, stale_share_for_a_moment, no_locks, forgetful_folder),
)

if __name__ == "__main__":
    _, fault, *rest = sys.argv
    name, *value = fault.split(":")
    {each.__name__: each for each in FAULTS}[name](*value)
    sys.exit(app.main(rest))
