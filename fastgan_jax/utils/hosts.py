"""Several processes that train one model, on one host or on many: `jax.distributed`, and what all must agree on.

Every process runs the same program on its own devices. The first one logs, and writes what is not a checkpoint. Quick
to import.
"""

import contextlib
import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial

from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.console import watched

AUTOMATIC = "auto"
LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")  # that start several processes say so here
SLICE = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")  # hosts of a TPU slice, joined by commas
START_SECONDS = 300  # in which all processes must have begun
HEARTBEAT_SECONDS = 30  # without a sign of life, after which a process counts as lost
END_SECONDS = 60  # in which all processes must have ended after the first one

_joined = False  # whether this process is one of several

log = logging.getLogger(__name__)


def launched_together() -> bool:
    """Whether the environment says that this process is one of several: of SLURM's srun, mpirun, or a TPU slice."""
    sizes = (os.environ.get(name, "1") for name in LAUNCHERS)
    return any(size.isdecimal() and int(size) > 1 for size in sizes) or any("," in os.environ.get(x, "") for x in SLICE)


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of a run, before JAX looks for devices; alone, does nothing.

    Args:
        coordinator: HOST:PORT of the first process, "auto" to let JAX find all out, None for that if the processes were
            launched together.
        processes: how many there are; 1: this one is alone, whatever launched it.
        process: which of them this is, from 0.

    Raises:
        UserError: if an argument is missing or the others do not come.
    """
    if coordinator is None and processes == 1:  # alone, whatever launched it
        return
    automatic = coordinator == AUTOMATIC or (coordinator is None and launched_together())
    given = {"--coordinator": coordinator, "--num-processes": processes, "--process-id": process}
    missing = [name for name, value in given.items() if value is None]
    if automatic:
        coordinator = processes = process = None
    elif len(missing) == len(given):
        return
    elif missing:
        raise UserError(f"{missing[0]} is missing: give {', '.join(given)} together, or --coordinator auto")
    elif process >= processes:
        raise UserError(f"--process-id {process}: must be below --num-processes {processes}")
    import jax

    from fastgan_jax.utils.devices import check_device

    # SIGTERM is this program's to handle, and processes on CPUs need a library to talk.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    seconds = {
        "initialization_timeout": START_SECONDS,
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": END_SECONDS,
    }
    try:
        meet = partial(jax.distributed.initialize, coordinator, processes, process, **seconds)
        watched("waiting for the other processes", meet)
    except (RuntimeError, ValueError) as error:
        cure = f"start all within {START_SECONDS} s, with a free port that they reach"
        reason = gist(error)
        where = coordinator or "the address of the cluster"
        raise UserError(f"the processes of the run did not meet at {where} ({reason}): {cure}") from None
    check_device()
    global _joined
    _joined = jax.process_count() > 1
    if jax.process_index():
        logging.getLogger("fastgan_jax").setLevel(logging.ERROR)
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the end): the first one speaks
    else:
        log.info("%d processes, %d devices", jax.process_count(), jax.device_count())


def agreed(number: int | None) -> int | None:
    """The largest of what all processes pass, in which None counts as 0 and 0 as None. All must call it."""
    import jax
    import numpy as np

    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(number or 0)).max()) or None


def check_same(what: str, text: str) -> None:
    """Raises a UserError if not all processes pass the same text; `what` it is, for the message. All must call it."""
    import jax
    import numpy as np

    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    hashes = multihost_utils.process_allgather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
    other = [index for index, own in enumerate(hashes) if not np.array_equal(own, hashes[0])]
    if other:
        named = ", ".join(map(str, other))
        raise UserError(f"{what} of process {named} differ from those of process 0: give all processes the same")


def is_one_of_several() -> bool:
    """Whether this process trains together with others."""
    return _joined


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Of several processes, one that fails ends at once, with a line that says why: the others would wait for it."""
    try:
        yield
    except BaseException as error:
        if not _joined or isinstance(error, SystemExit):
            raise
        import jax

        message, code = f"error: {error}", 2
        if isinstance(error, KeyboardInterrupt):
            message, code = "stopped", 128 + getattr(error, "signal_number", 2)
        elif isinstance(error, jax.errors.JaxRuntimeError):
            problem = f"another process of the run ended, or a device failed ({gist(error)})"
            message, code = f"error: {problem}: start all of them again, and they resume", os.EX_TEMPFAIL
        elif isinstance(error, OSError | MemoryError):
            message = f"error: {gist(error)}"
        elif not isinstance(error, UserError):
            message, code = traceback.format_exc(), 1
        print(f"process {jax.process_index()}: {message}", file=sys.__stderr__, flush=True)
        os._exit(code)
