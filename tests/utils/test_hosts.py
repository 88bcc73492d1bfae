"""Joining other processes: when, and what is refused before."""

import errno
import io
import os
import sys

import jax
import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.utils import hosts

NAMES = (*hosts.LAUNCHERS, *hosts.SLICE)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """An environment that says nothing, and a runtime that only notes how it is called."""
    calls = []
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments, **options: calls.append(arguments))
    monkeypatch.setattr(jax.config, "update", lambda *arguments: None)
    return calls


def test_a_process_on_its_own_joins_nothing(alone, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # an interactive shell of a cluster
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    hosts.join(None, None, None)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")  # four runs of one process, by one srun
    hosts.join(None, 1, None)
    assert alone == []
    assert hosts.agreed(15) == 15 and hosts.agreed(None) is None
    hosts.check_same("anything", "this")
    with pytest.raises(UserError, match="as it was"), hosts.ending_together():
        raise UserError("as it was")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("bad input"), 2, "error: bad input"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2, "No space left on device"),
        (MemoryError(), 2, "MemoryError"),
        (jax.errors.JaxRuntimeError("heartbeat"), 75, "(heartbeat): start all of them again, and they resume"),
        (KeyError("a mistake"), 1, "Traceback"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_process_that_fails_says_so_and_ends(monkeypatch, error, code, told):
    def end(code: int) -> None:
        raise SystemExit(code)

    shown = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", shown)
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(hosts, "_joined", True)
    with pytest.raises(SystemExit) as ended, hosts.ending_together():
        raise error
    assert ended.value.code == code and told in shown.getvalue()
    assert told == "Traceback" or len(shown.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLURM_STEP_NUM_TASKS", "2"), ("OMPI_COMM_WORLD_SIZE", "8"), ("TPU_WORKER_HOSTNAMES", "10.0.0.1,10.0.0.2")],
)
def test_processes_that_were_launched_together_join(alone, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    hosts.join(None, None, None)
    assert alone == [(None, None, None)], "JAX finds out the rest"


def test_processes_join_by_arguments(alone):
    hosts.join("localhost:1", 2, 1)
    hosts.join("auto", None, None)
    assert alone == [("localhost:1", 2, 1), (None, None, None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", 2, None), "--process-id is missing: give --coordinator, --num-processes, --process-id together"),
        ((None, 2, 1), "--coordinator is missing"),
        (("host:1", 2, 2), "--process-id 2: must be below --num-processes 2"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        hosts.join(*arguments)


def test_processes_that_do_not_come_are_one_line(monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("DEADLINE_EXCEEDED: barrier\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r"meet at host:1 \(DEADLINE_EXCEEDED: barrier\): start all within"):
        hosts.join("host:1", 2, 1)
