"""Names that are not Unicode or very long, and consoles that lack their letters: no result is lost for them."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_modules import pixels, run

import fastgan_jax
from fastgan_jax.inference.projection import Projection
from fastgan_jax.inference.projection_files import projection_paths, write_projection

LATIN = os.fsdecode(b"caf\xe9")  # as an old zip unpacks
ESCAPED = "caf\\udce9"


@pytest.fixture(scope="module")
def odd_run(smoke_run, tmp_path_factory) -> Path:
    """A finished run in a folder whose name is not Unicode."""
    folder = tmp_path_factory.mktemp("runs") / LATIN
    shutil.copytree(smoke_run, folder)
    return folder


def test_a_run_and_results_with_such_a_name(odd_run, smoke_run, tmp_path, capsys):
    out = tmp_path / LATIN / f"{LATIN}.png"
    assert run("sample", "--run", odd_run, "--num", 1, "--out", out) == 0
    np.testing.assert_array_equal(pixels(out), fastgan_jax.load(smoke_run).sample(1)[0])
    with Image.open(out) as file:
        assert file.text["run"] == ESCAPED
    assert run("report", "--run", odd_run) == 0
    assert run("export", "--run", odd_run, "--format", "safetensors", "--out", tmp_path / f"{LATIN}.safetensors") == 0
    assert run("export", "--run", odd_run, "--format", "onnx", "--out", tmp_path / f"{LATIN}.onnx") == 0
    assert (tmp_path / f"{LATIN}.onnx").stat().st_size > 100_000


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_that_lacks_a_letter_shows_an_escape(smoke_run, tmp_path, monkeypatch, encoding):
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
    assert run("report", "--run", smoke_run, "--out", tmp_path / "猫🐱.html") == 0
    assert (tmp_path / "猫🐱.html").is_file()
    sys.stdout.flush()
    assert stream.getvalue().decode("ascii").strip() == str(tmp_path / "\\u732b\\U0001f431.html")


def test_a_projection_of_files_with_such_names(tmp_path):
    files = [Path(f"{LATIN}.png"), Path("x" * 251 + ".png"), Path("猫" * 84 + ".png")]
    images = np.zeros((3, 4, 4, 3), np.uint8)
    numbers = np.ones(3)
    found = Projection(np.ones((3, 2)), images, 0, None, "l2", numbers, numbers, np.ones((2, 3)))
    rows = write_projection(tmp_path / LATIN, files, images, found, {"run": LATIN})
    paths = projection_paths(tmp_path / LATIN, files)
    assert all(path.is_file() for path in paths)
    assert [len(os.fsencode(path.name)) for path in paths[:3]] == [12, 4 + 120 + 4, 4 + 120 + 4]
    with Image.open(paths[0]) as file:
        assert file.text["target"] == f"{ESCAPED}.png"
    assert [row["picture"] for row in rows] == [str(file) for file in files]
    assert json.loads((tmp_path / LATIN / "table.json").read_text())["pictures"] == rows
    assert np.load(tmp_path / LATIN / "projected.npz")["names"].tolist() == [str(file) for file in files]


@pytest.mark.parametrize("command", ["sample", "nearest", "style-mix", "reconstruct", "evaluate", "interpolate"])
def test_a_name_that_is_too_long_is_refused_before_the_work(smoke_run, tmp_path, capsys, command):
    words = {"reconstruct": ["--images", tmp_path / "a.png"], "interpolate": ["--seeds", "0-1"]}.get(command, [])
    option, path = "--json" if command == "evaluate" else "--out", tmp_path / ("x" * 252 + ".png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    if command == "interpolate":
        path = path.with_suffix(".gif")
    assert run(command, "--run", smoke_run, option, path, *words) == 2
    error = capsys.readouterr().err
    assert error == f"error: {path} cannot be written (File name too long): choose another {option}\n"


@pytest.mark.parametrize(
    "words", [["sample", "--run", "RUN"], ["train", "--preset", "smoke"], ["train", "RUN/samples"]]
)
def test_a_device_that_is_not_here_is_one_line_before_the_work(smoke_run, tmp_path, words):
    """Also where it is to choose the preset."""
    words = [word.replace("RUN", str(smoke_run)) for word in words]
    words += ["--out" if words[0] == "sample" else "--workdir", str(tmp_path / "a")]
    environment = os.environ | {"JAX_PLATFORMS": "abacus"}
    program = [sys.executable, "-m", "fastgan_jax", *words]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=root)
    assert result.returncode == 2
    message = result.stderr.splitlines()[-1]  # a slow machine says before that it is starting
    assert message.startswith("error: JAX_PLATFORMS=abacus: JAX finds no such device (")
    assert "unset JAX_PLATFORMS" in message and "Traceback" not in result.stderr
    assert not (tmp_path / "a").exists()
