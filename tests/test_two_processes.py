"""One run of two processes on the loopback: it trains, loses one of them, and resumes."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from fastgan_jax.runs.checkpoint import load_state

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ["--preset=smoke", "--config.train.iterations=6", "--config.data.resident=false"]


def start(run: Path, environment: dict[str, str], *more: str) -> list[subprocess.Popen]:
    """Both processes of a run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fastgan_jax", "train", *SETTINGS, *more, "--workdir", str(run)]
    command += ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--process-id"]
    options = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([*command, str(index)], **options) for index in range(2)]


def finish(processes: list[subprocess.Popen]) -> list[str]:
    """What both wrote on stderr, once they have ended."""
    return [process.communicate()[1] for process in processes]


def steps_and_losses(run: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss/d"]) for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, process_environment):
    """A run of two processes that nothing disturbed."""
    run = tmp_path_factory.mktemp("two") / "whole"
    processes = start(run, process_environment)
    told = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], told
    assert "2 processes, 2 devices" in told[0] and "each of 2 cpu" in told[0]
    assert "iteration" not in told[1], "the first process speaks"
    return run


@pytest.mark.slow
def test_two_processes_train_as_one(whole, smoke_run):
    names = {"config.json", "data.json", "metrics.jsonl", "tensorboard", "samples", "reconstructions", "report.html"}
    assert names <= {file.name for file in whole.iterdir()}
    lines = [json.loads(line) for line in (smoke_run / "metrics.jsonl").read_text().splitlines()]
    found = steps_and_losses(whole)
    assert [step for step, _ in found] == [1, 2, 3, 4, 5, 6]
    assert found[0][1] == pytest.approx(lines[0]["loss/d"], rel=1e-5), "the same batch, drawn and read in two parts"
    np.testing.assert_allclose([loss for _, loss in found[:4]], [line["loss/d"] for line in lines], rtol=0.05)


@pytest.mark.slow
def test_a_lost_process_ends_the_run_and_both_resume(whole, tmp_path, process_environment):
    processes = start(tmp_path / "run", process_environment)
    while processes[1].poll() is None and not (tmp_path / "run" / "checkpoints" / "2").is_dir():
        time.sleep(0.02)
    processes[1].kill()
    told = finish(processes)
    assert processes[0].returncode not in (0, None), "it notices"
    assert "Traceback" not in told[0]
    assert not (tmp_path / "run" / "checkpoints" / "6").is_dir(), "the run was over before it could be killed"
    processes = start(tmp_path / "run", process_environment)
    told = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], told
    assert "resumed from iteration" in told[0]
    assert steps_and_losses(tmp_path / "run") == steps_and_losses(whole)
    (one, _, step), (other, _, expected) = load_state(tmp_path / "run"), load_state(whole)
    assert step == expected == 6
    keys = jax.dtypes.prng_key
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        x, y = (jax.random.key_data(a) if jax.dtypes.issubdtype(a.dtype, keys) else a for a in (x, y))
        np.testing.assert_array_equal(x, y)
