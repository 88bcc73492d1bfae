"""Run folders made by version 0.2.0: tests/fixtures/runs_0_2_0.zip.

It holds a run of configs/smoke.py ("native") and a converted PyTorch checkpoint ("converted"), both at the smallest
width; the demo images that 0.2.0 drew into the run folders, which are drawn otherwise now; what it
sampled from them (samples.npz: seed 3); and the metrics of the iterations that followed when 0.2.0
resumed them (native_resumed.json, converted_resumed.json).
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastgan_jax
from configs import base, smoke
from fastgan_jax.runs.checkpoint import newest_config
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import read_metrics
from fastgan_jax.train import train_and_evaluate

ARCHIVE = Path(__file__).resolve().parent / "fixtures" / "runs_0_2_0.zip"


@pytest.fixture
def runs(tmp_path) -> Path:
    """The unpacked folder."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("statistics", ["standing", "running"])
@pytest.mark.parametrize("name", ["native", "converted"])
def test_runs_of_0_2_0_give_the_same_images(runs, name, statistics):
    """On the machine that recorded them they are equal bit for bit; other processors may round to another level."""
    sampler = fastgan_jax.load(runs / name, statistics=statistics)
    expected = np.load(runs / "samples.npz")[f"{name}/{statistics}"]
    difference = np.abs(sampler.sample(len(expected), seed=3).astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_a_run_of_0_2_0_is_known_by_its_fields(runs):
    folder = runs / "native" / "checkpoints"
    assert "discriminator" not in newest_config(folder, upgraded=False)["model"]
    assert newest_config(folder)["model"]["discriminator"] == "fastgan"


@pytest.mark.slow
def test_a_run_of_0_2_0_resumes(runs):
    config = smoke.get_config()
    config.model.update(ngf=1, ndf=1, nz=2, decoders="")
    config.data.demo_images = 6
    config.train.update(iterations=3, batch_size=2, num_samples=4)
    check_resumed(runs, "native", config)


@pytest.mark.slow
def test_a_conversion_by_0_2_0_resumes(runs):
    config = base.get_config()
    config.model.update(resolution=64, ngf=1, ndf=1, nz=2)
    config.loss.reconstruction = "l1"
    config.data.demo_images = 6
    config.train.update(iterations=1, num_samples=4, log_every=1)
    check_resumed(runs, "converted", config)


def check_resumed(runs: Path, name: str, config) -> None:
    """The first iteration after the checkpoint has the losses that it had in 0.2.0."""
    expected = json.loads((runs / f"{name}_resumed.json").read_text())[0]
    train_and_evaluate(config, str(runs / name))
    found = read_metrics(RunFolder(runs / name).metrics)[-1]
    assert found["step"] == expected["step"] == config.train.iterations
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=2e-3, abs=2e-3), key
