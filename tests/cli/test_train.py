"""fastgan train: which configuration, which run folder, exit codes, the dry run."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_modules import run

from fastgan_jax import main as entry
from fastgan_jax import train
from fastgan_jax.cli.app import parse
from fastgan_jax.cli.train import default_name, read_config
from fastgan_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMOKE = str(ROOT / "configs" / "smoke.py")


@pytest.fixture
def started(monkeypatch, tmp_path) -> dict:
    """What a command starts to train, instead of training; the working folder is empty."""
    found = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "train_and_evaluate", lambda config, workdir: found.update(config=config, run=workdir))
    return found


@pytest.fixture
def images(tmp_path) -> Path:
    """Two small images."""
    folder = tmp_path / "my cats.v2"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(np.full((8, 8, 3), 100 * index, np.uint8)).save(folder / f"{index}.png")
    return folder


def configured(*arguments: object):
    return read_config(parse("train", [str(argument) for argument in arguments]))


def test_a_folder_of_images_is_enough(started, images):
    assert run("train", images) == 0
    config = started["config"]
    assert (config.model.resolution, config.loss.reconstruction) == (256, "l1")  # fewshot256
    assert config.data.path == str(images) and started["run"] == "runs/my cats.v2"


def test_images_take_the_place_of_the_presets_own(started, images, tmp_path):
    assert run("train", images.name, "--preset", "demo", "--workdir", "~/here", "--config.train.seed=5") == 0
    config = started["config"]
    assert (config.data.path, config.data.demo_images, config.data.tfds) == (str(images), None, None)
    assert config.train.seed == 5 and started["run"] == str(Path("~/here").expanduser())
    flowers = configured(images, "--preset", "flowers256").data
    assert (flowers.path, flowers.tfds, flowers.fit) == (str(images), None, "crop")


def test_the_run_folder_is_named_after_what_is_trained_on(images, tmp_path, monkeypatch):
    zipped = tmp_path / "birds.zip"
    zipped.touch()
    monkeypatch.chdir(images)
    for words, name in (
        (["."], "my cats.v2"),
        ([str(zipped), "--preset", "art512"], "birds"),
        (["--preset", "demo"], "demo"),
        (["--config", SMOKE], "smoke"),
        (["--config", "/runs/mine/config.json"], "mine"),
        (["--config", "/runs/mine"], "mine"),
    ):
        assert default_name(parse("train", words)) == name


def test_the_configuration_of_a_run_is_taken_from_its_folder(smoke_run):
    for source in (smoke_run, smoke_run / "config.json"):
        config = configured("--config", source, "--config.train.iterations=8")
        assert (config.model.ngf, config.data.demo_images, config.train.iterations) == (4, 20, 8)


def test_print_config_is_a_dry_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert entry.main(["--config", SMOKE, "--mode=print-config", "--config.model.nz=9"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["nz"] == 9
    assert run("train", "--mode=print-config") == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to train on: give a folder or zip of images, or --preset demo"),
        (["images"], "images: no such folder or zip of images"),
        (["--preset", "dmeo"], "--preset dmeo: must be one of art1024, art512, base, demo"),
        (["--preset", "demo", "--config", "demo"], "not allowed with argument"),
        (["--config", "configs/nothing.py"], "no such file"),
        (["--config", "art1204"], "nearest: art1024"),
        (["--config", SMOKE, "--config.train.batchsize=4"], "nearest: train.batch_size"),
        (["--config", SMOKE, "--config.model.resolution=100"], "model.resolution=100: must be one of 64, 128"),
        (["--config", str(ROOT / "configs" / "fewshot256.py")], "exactly one source"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert entry.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir()), "nothing may be written before the check"


@pytest.mark.parametrize(
    ("raised", "code"),
    [(train.Diverged("loss/d is nan"), 1), (train.Interrupted("stopped", 15), 143), (UserError("no"), 2), (None, 0)],
)
def test_exit_codes(monkeypatch, tmp_path, capsys, raised, code):
    def fake(config, workdir):
        assert workdir == "runs/smoke"
        if raised:
            raise raised

    monkeypatch.setattr(train, "train_and_evaluate", fake)
    assert entry.main(["--config", SMOKE]) == code
    assert capsys.readouterr().err.count("\n") == (1 if raised else 0)


@pytest.mark.slow
def test_ctrl_c_while_images_are_decoded_is_one_line(tmp_path, process_environment):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (1500, 1500, 3), np.uint8)
    Image.fromarray(noise).save(folder / "0.png", compress_level=1)
    for index in range(1, 60):
        shutil.copy(folder / "0.png", folder / f"{index}.png")
    command = [sys.executable, "-m", "fastgan_jax", "train", str(folder), "--preset", "smoke", "--workdir", "run"]
    environment = process_environment | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    while not list((tmp_path / "cache").rglob("*.npy*")) and not list((tmp_path / "cache").rglob("*.part*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and error.splitlines()[-1] == "stopped" and "Traceback" not in error


def test_two_runs_on_one_folder_are_refused(smoke_run, process_environment):
    from fastgan_jax.runs.folder import RunFolder

    command = [sys.executable, "-m", "fastgan_jax.main", "--config", SMOKE, "--workdir", str(smoke_run)]
    with RunFolder(smoke_run).lock():
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=process_environment)
    assert result.returncode == 2 and "is in use by process" in result.stderr
