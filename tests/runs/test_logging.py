"""metrics.jsonl and the loggers."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from configs import smoke
from fastgan_jax.errors import UserError
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs import logging
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import Csv, Logger, MetricsWriter, TensorBoard
from fastgan_jax.train import train_and_evaluate

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock():
        yield folder


def lines_of(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


@pytest.mark.parametrize("damaged", [b'{"step": 4, "lo', b'\x80{"step": 4}', b'{"step": "4"}', b"4"])
def test_resuming_drops_later_and_damaged_lines(run, caplog, damaged):
    with MetricsWriter(run, 0) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, {"loss/d": step / 2})
    with open(run.metrics, "ab") as file:
        file.write(damaged)
    with MetricsWriter(run, 2) as writer:
        writer.scalars(3, {"loss/d": 7.0})
    assert [(line["step"], line["loss/d"]) for line in lines_of(run)] == [(1, 0.5), (2, 1.0), (3, 7.0)]
    assert "dropped a damaged line" in caplog.text


def test_numbers_that_are_not_finite_are_valid_json(run):
    with MetricsWriter(run, 0) as writer:
        writer.scalars(1, {"a": float("nan"), "b": float("inf"), "c": 1.5})
    (line,) = lines_of(run)
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.5)
    assert line["wall_time"] > 0


def test_images_and_scalars_are_events(run):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    image = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)
    with MetricsWriter(run, 0) as writer:
        writer.scalars(3, {"loss/d": 0.5})
        writer.image(3, "samples", image)
    (file,) = run.tensorboard.iterdir()
    values = {value.tag: value for event in EventFileLoader(str(file)).Load() for value in event.summary.value}
    assert values.keys() == {"loss/d", "samples"}


def test_a_full_disk_is_named_by_tensorboard_too(run):
    with open("/dev/full", "wb", buffering=0) as full, MetricsWriter(run, 0) as writer:
        writer._loggers[0].close()
        writer._loggers[0]._records._writer = full
        with pytest.raises(UserError, match=r"the log of .* cannot be written \(No space left on device\): free some"):
            writer.scalars(1, {"loss/d": 0.5})


def test_a_full_disk_is_named(run):
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    with MetricsWriter(run, 0) as writer:
        writer._lines.close()
        writer._lines = Full()
        with pytest.raises(UserError, match=r"the log of .* cannot be written \(No space left on device\): free some"):
            writer.scalars(1, {"loss/d": 0.5})


def test_csv_has_a_column_for_each_name_and_resumes(run):
    with MetricsWriter(run, 0, ["csv"]) as writer:
        writer.scalars(1, {"loss/d": 0.5})
        writer.scalars(2, {"loss/d": 0.25, "loss/g": float("nan")})
        writer.scalars(3, {"eval/fid": 7.0})
    assert not run.tensorboard.exists()
    with open(run.path / "metrics.csv", "a") as file:
        file.write("4,1")
    with MetricsWriter(run, 2, ["csv"]) as writer:
        writer.scalars(3, {"loss/g": 1.0})
    with open(run.path / "metrics.csv", newline="") as file:
        rows = [{name: row[name] for name in ("step", "loss/d", "loss/g", "eval/fid")} for row in csv.DictReader(file)]
    assert [list(row.values()) for row in rows] == [
        ["1", "0.5", "", ""],
        ["2", "0.25", "nan", ""],
        ["3", "", "1.0", ""],
    ]


def test_a_resumed_run_starts_a_session_of_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resume, steps in ((0, (100, 200)), (0, (100, 200, 300)), (100, (200, 300))):
        writer = TensorBoard(run, resume)
        for step in steps:
            writer.scalars(step, {"loss/d": 1.0 + resume})
        writer.close()
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("loss/d")] == [(100, 1), (200, 101), (300, 101)]


@pytest.mark.parametrize("kept", [True, False])
def test_a_csv_that_a_spreadsheet_has_saved(run, kept, caplog):
    path = run.path / "metrics.csv"
    lines = "step,wall_time,loss/d\n100,1,2\n200,2,3\n"
    path.write_text(f"\ufeff{lines}" if kept else lines.replace(",", ";"), encoding="utf-8")
    logger = Csv(run, 100)
    logger.scalars(200, {"loss/d": 4.0})
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", *["100"][:kept], "200"]
    assert kept or (run.path / "metrics-until-100.csv").is_file() and "has no column step" in caplog.text


def test_another_logger_is_an_entry(run, monkeypatch):
    told = []

    class Told(Logger):
        def __init__(self, run, resume_step):
            told.append(("open", resume_step))

        def scalars(self, step, values):
            told.append((step, dict(values)))

        def close(self):
            told.append("closed")

    monkeypatch.setitem(logging.LOGGERS, "told", Told)
    configuration.validate(changed("told,csv"))
    with MetricsWriter(run, 5, ["told"]) as writer:
        writer.scalars(6, {"a": 1.0})
        writer.image(6, "samples", np.zeros((2, 2, 3), np.uint8))
    assert told == [("open", 5), (6, {"a": 1.0}), "closed"]
    with pytest.raises(UserError, match="train.loggers='mlflow': must be names among tensorboard, wandb, csv, told"):
        configuration.validate(changed("mlflow"))


def changed(loggers):
    config = smoke.get_config()
    config.train.loggers = loggers
    return config


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    for module in (None, ModuleType("wandb")):  # a folder `wandb` in the current one is such a module
        monkeypatch.setitem(sys.modules, "wandb", module)
        with pytest.raises(UserError, match=r"needs the package wandb: pip install 'fastgan_jax\[wandb\]'"):
            train_and_evaluate(changed("wandb"), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_wandb_must_know_who_logs(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    settings = SimpleNamespace(mode="offline")

    def refused():
        raise wandb.Error("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=settings))
    monkeypatch.setattr(wandb, "login", refused)
    logging.LOGGERS["wandb"].check()
    settings.mode = "online"
    with pytest.raises(UserError, match="No API key configured.* log in, or set WANDB_MODE=offline"):
        logging.LOGGERS["wandb"].check()


def test_a_run_goes_on_when_wandb_fails(caplog):
    sent = []

    def failing(values: dict) -> None:
        sent.append(values)
        raise ConnectionError("Broken pipe\nmore")

    logger = logging.WeightsAndBiases.__new__(logging.WeightsAndBiases)
    logger._run = SimpleNamespace(log=failing)
    for step in range(3):
        logger.scalars(step, {"loss/d": 1.0})
    assert len(sent) == 1 and caplog.messages == [
        "Weights & Biases failed (Broken pipe): training goes on without; metrics.jsonl has all"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", os.fsdecode(b"caf\xe9")])
def test_wandb_keeps_a_run_offline(tmp_path, monkeypatch, name):
    """One file for each start, of the same run; in a process of its own, which wandb's service outlives."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    program = (
        "import os, sys, numpy as np\n"
        "from fastgan_jax.runs.folder import RunFolder\n"
        "from fastgan_jax.runs.logging import MetricsWriter\n"
        "run = RunFolder(sys.argv[1])\n"
        "with run.lock():\n"
        "    run.write_config({'model': {'ngf': 4}}, device='cpu')\n"
        "    for start in (0, 1):\n"
        "        with MetricsWriter(run, start, ['tensorboard', 'wandb']) as writer:\n"
        "            writer.scalars(start + 1, {'loss/d': 0.5})\n"
        "            writer.image(start + 1, 'samples', np.zeros((4, 6, 1), np.uint8))\n"
    )
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", program, tmp_path / name], check=True, env=environment, cwd=ROOT)
    folder = tmp_path / name / "wandb"
    identity = (folder / "id.txt").read_text()
    assert len([*folder.glob(f"offline-run-*-{identity}/run-{identity}.wandb")]) in (1, 2)  # of the same second: one
    assert len([*folder.glob("offline-run-*/files/media/images/samples_*.png")]) in (1, 2)
    assert len([*(tmp_path / name / "tensorboard").iterdir()]) >= 1
