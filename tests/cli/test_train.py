"""fastgan train: which configuration, which run folder, exit codes, the dry run."""

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import termios
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
from fastgan_jax.runs import presets
from fastgan_jax.utils.devices import Device

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


def test_a_folder_of_images_is_enough(started, images, monkeypatch):
    monkeypatch.setattr(presets, "local_path", lambda name: None)
    assert run("train", images) == 0
    config = started["config"]
    assert (config.model.resolution, config.loss.reconstruction) == (128, "l1")  # cpu128
    assert config.data.path == str(images) and started["run"] == "runs/my cats.v2"


def test_on_a_cpu_the_images_themselves_choose_the_preset(images, tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "local_path", lambda name: Path("weights.npz"))
    monkeypatch.setattr("fastgan_jax.utils.devices.this_device", lambda: Device("cpu", "cpu", None))
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(photographs / "0.png")
    assert configured(photographs).model.discriminator == "both", "projected_cpu"
    assert configured(images).model.resolution == 128, "of one color each: cpu128"


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
    (folder := tmp_path / "lr0.001").mkdir()
    monkeypatch.chdir(images)
    for words, name in (
        (["."], "my cats.v2"),
        ([str(zipped), "--preset", "art512"], "birds"),
        (["--preset", "demo"], "demo"),
        (["--config", SMOKE], "smoke"),
        (["--config", "/runs/mine/config.json"], "mine"),
        (["--config", "/runs/mine"], "mine"),
        (["--config", str(folder)], "lr0.001"),
        (["--config.data.hf=huggan/few-shot-panda"], "few-shot-panda"),
        (["--config.data.hf=hf://datasets/huggan/few-shot-panda"], "few-shot-panda"),
        (["--config.data.hf=."], "my cats"),
        (["--config.data.tfds=oxford_flowers102:2.1.1"], "oxford_flowers102"),
    ):
        assert default_name(parse("train", words)) == name


def test_a_source_that_is_given_takes_the_place_of_the_presets_own(images):
    for preset in ("demo", "flowers256"):
        data = configured("--preset", preset, f"--config.data.path={images}").data
        assert (data.path, data.demo_images, data.tfds, data.hf) == (str(images), None, None, None)


def test_a_field_may_name_what_to_train_on(images, tmp_path, monkeypatch):
    name = "huggan/few-shot-panda"
    for kind, side in (("gpu", 256), ("cpu", 128)):
        monkeypatch.setattr("fastgan_jax.utils.devices.this_device", lambda kind=kind: Device(kind, kind, None))
        config = configured(f"--config.data.hf={name}")
        assert (config.data.hf, config.data.path, config.model.resolution) == (name, None, side)
    run = make_run(tmp_path / "runs" / "few-shot-panda", images, 5, [])
    record = json.loads((run / "config.json").read_text())
    record["config"]["data"] |= {"path": None, "hf": name}
    (run / "config.json").write_text(json.dumps(record))
    monkeypatch.chdir(tmp_path)
    assert configured(f"--config.data.hf={name}").model.ngf == 9, "the run's own settings"
    arguments = parse("train", [f"--config.data.path={images}"])
    assert read_config(arguments).data.path == str(images) and default_name(arguments) == images.name
    monkeypatch.chdir(images.parent)
    assert configured("--preset", "demo", f"--config.data.path={images.name}").data.path == str(images)
    assert configured("--preset", "demo", "--config.data.path=None").data.demo_images == 400, "its own"
    (images.parent / "labels.csv").write_text("a.png,0")
    fields = {"labels": "labels.csv", "cache_dir": "new"}
    data = configured(images, *(f"--config.data.{name}={value}" for name, value in fields.items())).data
    assert data.labels == str(images.parent / "labels.csv") and data.cache_dir == str(images.parent / "new")
    assert configured(f"--config.data.hf={images.name}").data.hf == str(images), "a local one"
    (images / "mine.csv").write_text("a.png,0")
    for given in ("mine.csv", f"{images.name}/mine.csv"):
        assert configured(images, f"--config.data.labels={given}").data.labels == "mine.csv", "wherever the images are"
    with pytest.raises(UserError, match="nothing to train on"):
        configured("--config.data.path=None")
    with pytest.raises(UserError, match=f"{images} and --config.data.path=other: name one set of images"):
        configured(images, "--config.data.path=other")


def test_the_configuration_of_a_run_is_taken_from_its_folder(smoke_run):
    for source in (smoke_run, smoke_run / "config.json"):
        config = configured("--config", source, "--config.train.iterations=8")
        assert (config.model.ngf, config.data.demo_images, config.train.iterations) == (4, 20, 8)


def make_run(folder: Path, images: Path, step: int, names: list[str], iterations: int = 10_000) -> Path:
    """A run folder as far as the command looks at it."""
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    config = configured(images, "--preset", "cpu128", f"--config.train.iterations={iterations}", "--config.model.ngf=9")
    (folder / "config.json").write_text(json.dumps({"config": config.to_dict()}))
    record = {"read": [{"file": name} for name in names], "skipped": []}
    (folder / "data.json").write_text(json.dumps(record))
    return folder


def test_a_run_goes_on_with_its_own_settings(started, images):
    make_run(Path("runs/my cats.v2"), images, 5, ["0.png", "1.png"])
    assert run("train", images) == 0 and started["config"].model.ngf == 9
    assert run("train", images, "--preset", "cpu128") == 0 and started["config"].model.ngf == 32
    make_run(Path("demo"), images, 5, ["0.png", "1.png"])
    assert run("train", images, "--workdir", "demo") == 0 and started["config"].model.ngf == 9, "not the preset demo"


def test_a_run_that_has_lost_its_settings_goes_on(started, images, caplog):
    folder = make_run(Path("runs/my cats.v2"), images, 5, ["0.png", "1.png"])
    saved = json.loads((folder / "config.json").read_text())["config"]
    (folder / "checkpoints" / "5" / "config").mkdir()
    (folder / "checkpoints" / "5" / "config" / "metadata").write_text(json.dumps(saved))
    for words in ([images], [images, "--preset", "cpu128", "--config.model.ngf=9"]):
        (folder / "config.json").write_text("")
        assert run("train", *words) == 0 and started["config"].model.ngf == 9
        assert json.loads((folder / "config.json").read_text()) == {"config": saved}
    assert caplog.text.count("config.json was missing or damaged") == 2


def test_a_run_on_other_images_is_refused_with_two_commands(started, images, tmp_path, capsys):
    other = tmp_path / "elsewhere" / images.name
    shutil.copytree(images, other)
    folder = make_run(Path("runs/my cats.v2"), other, 5, ["0.png", "1.png"])
    assert run("train", images.name, "--config.train.seed=5") == 2 and not started
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        f"error: {folder} is a run on other images, {other}, at iteration 5: to train a new model on these images: "
        f"fastgan train {shlex.quote(images.name)} --config.train.seed=5 --workdir 'runs/my cats.v2-2'; "
        "to train that one further: fastgan train --config 'runs/my cats.v2/config.json' --workdir 'runs/my cats.v2'"
    )
    assert run("train", *shlex.split(line.split("images: fastgan train ")[1].split(";")[0])) == 0
    assert started["run"] == "runs/my cats.v2-2" and started["config"].data.path == str(images)
    assert run("train", *shlex.split(line.split("further: fastgan train ")[1])) == 0
    assert started["run"] == str(folder) and started["config"].data.path == str(other)
    assert run("train", images, "--workdir", folder) == 0, "who names the folder means it"


def test_a_finished_run_is_not_taken_for_one_on_new_images(started, images, capsys):
    folder = make_run(Path("runs/my cats.v2"), images, 10, ["0.png", "1.png"], iterations=10)
    assert run("train", images) == 0, "the same images: training says that it is finished"
    started.clear()
    Image.new("RGB", (8, 8)).save(images / "2.png")
    for words in ([images], [images, "--workdir", folder]):
        assert run("train", *words) == 2 and not started
        line = capsys.readouterr().err.splitlines()[-1]
        assert "other images than are in" in line and "finished (10 iterations)" in line
    assert run("train", *shlex.split(line.split("further: fastgan train ")[1])) == 0
    assert started["run"] == str(folder) and started["config"].train.iterations == 20


def test_a_run_does_not_lie_among_its_own_images(started, images, capsys):
    assert run("train", images, "--workdir", images) == 2 and not started
    assert f"the run folder {images} is that of the images: choose another --workdir" in capsys.readouterr().err
    (images / "samples").mkdir()
    Image.new("RGB", (8, 8)).save(images / "samples" / "0.png")
    assert run("train", images / "samples", "--workdir", images) == 2 and not started
    assert f"{images / 'samples'} is where the run writes images of its own: choose" in capsys.readouterr().err
    folder = make_run(Path("runs/mine"), images, 5, ["0.png", "1.png"])
    assert run("train", folder) == 2 and not started
    assert "is a run folder, with images that were made: name the folder of the images" in capsys.readouterr().err


def test_all_files_of_a_folder_are_refused_in_a_short_line(capsys):
    assert run("train", *(f"{number}.jpg" for number in range(1000))) == 2
    line = capsys.readouterr().err
    assert "more: give a folder for its files" in line and len(line) < 1000


def test_inputs_are_checked_before_jax_is_imported(images):
    program = (
        "import sys\nfrom fastgan_jax.cli.app import run_command\n"
        "code = run_command('train', sys.argv[1:])\nprint(code, 'jax' in sys.modules)"
    )
    make_run(images.parent / "runs" / images.name, images.parent, 5, [])
    (images.parent / "empty").mkdir()
    (images.parent / "no.zip").write_text("not a zip")
    for words in (["no"], ["empty"], ["no.zip"], [images.name], ["--preset", "no"], ["--config", "no.py"]):
        command = [sys.executable, "-c", program, *words]
        result = subprocess.run(command, capture_output=True, text=True, cwd=images.parent)
        assert result.stdout == "2 False\n" and result.stderr.splitlines()[-1].startswith("error: "), words


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
        (["--preset", "dmeo"], "--preset dmeo: must be one of art1024, art512, base, cpu128, demo"),
        (["--preset", "demo", "--config", "demo"], "not allowed with argument"),
        (["--config", "configs/nothing.py"], "no such file"),
        (["--config", "art1204"], "nearest: art1024"),
        (["--config", SMOKE, "--config.train.batchsize=4"], "nearest: train.batch_size"),
        (["--config", SMOKE, "--config.model.resolution=100"], "model.resolution=100: must be one of 64, 128"),
        (["--config", str(ROOT / "configs" / "fewshot256.py")], "exactly one source"),
        (["--config", str(ROOT / "README.md")], "give a .py file with get_config()"),
        (["--preset", "smoke", "--workdir", ""], "an empty path"),
        (["--preset", "smoke", "--config.data.demo_images=None", "--config.data.path="], "an empty path"),
        ([str(ROOT / "configs"), "--preset", "smoke"], "there is no image in it"),
        ([str(ROOT / "docs"), "--preset", "smoke", "--config.model.num_classes=7"], "set model.num_classes="),
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


def interrupted(tmp_path: Path, environment: dict, command: list, reached, number: int = signal.SIGINT):
    """Exit code and lines of a training command that gets a signal once `reached(its stderr so far)`."""
    output = tmp_path / "stderr"
    command = [sys.executable, "-m", "fastgan_jax", "train", *map(str, command), "--workdir", "run"]
    environment = environment | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    with open(output, "w") as file:
        process = subprocess.Popen(command, stderr=file, cwd=tmp_path, env=environment)
    try:
        while not reached(output.read_text()):
            assert process.poll() is None, output.read_text()
            time.sleep(0.02)
        process.send_signal(number)
        code = process.wait()
    finally:
        process.kill()
    assert "Traceback" not in output.read_text()
    return code, output.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_images_are_decoded_is_one_line(tmp_path, process_environment, number, code):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (1500, 1500, 3), np.uint8)
    Image.fromarray(noise).save(folder / "0.png", compress_level=1)
    for index in range(1, 60):
        shutil.copy(folder / "0.png", folder / f"{index}.png")

    def decoding(_):
        return list((tmp_path / "cache").rglob("*.npy*")) or list((tmp_path / "cache").rglob("*.part*"))

    command = [folder, "--preset", "smoke"]
    got, lines = interrupted(tmp_path, process_environment, command, decoding, number)
    assert got == code and lines[-1] == "stopped"
    assert not list((tmp_path / "cache").rglob("*.part*")), "nothing stays of what was begun"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [120, 0])
def test_a_terminal_shows_how_far_it_is(tmp_path, process_environment, columns):
    environment = process_environment | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastgan_jax", "train", "--preset", "smoke", "--workdir", "run"]
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (30, columns))
    process = subprocess.Popen(command, stderr=stderr, cwd=tmp_path, env=environment)
    os.close(stderr)
    shown = b""
    with contextlib.suppress(OSError):  # at its end
        while part := os.read(terminal, 2**16):
            shown += part
    os.close(terminal)
    shown = shown.decode()
    assert process.wait() == 0 and "Traceback" not in shown, shown
    in_place = ("\rcompiling ... " in shown, "4/4 [" in shown)
    assert in_place == (columns > 0,) * 2 and "finished: 4 iterations" in shown


@pytest.mark.slow
def test_ctrl_c_while_it_compiles_or_iterates(tmp_path, process_environment):
    command = ["--preset", "smoke", "--config.train.iterations=100"]
    parameters = "parameters in the generator"
    code, lines = interrupted(tmp_path, process_environment, command, lambda text: parameters in text)
    assert code == 130 and lines[-1] == "stopped" and not [line for line in lines if "compiled" in line]
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    code, lines = interrupted(tmp_path, process_environment, command, lambda text: "done" in text)
    assert code == 130 and re.fullmatch(r"stopped by SIGINT: iteration \d+ of 100 is saved in run; .*", lines[-1])
    step = lines[-1].split("iteration ")[1].split()[0]
    assert (tmp_path / "run" / "checkpoints" / step / "sampler").is_dir()


def test_two_runs_on_one_folder_are_refused(smoke_run, process_environment):
    from fastgan_jax.runs.folder import RunFolder

    command = [sys.executable, "-m", "fastgan_jax.main", "--config", SMOKE, "--workdir", str(smoke_run)]
    with RunFolder(smoke_run).lock():
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=process_environment)
    assert result.returncode == 2 and "is in use by process" in result.stderr
