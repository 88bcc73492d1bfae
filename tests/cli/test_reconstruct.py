"""fastgan reconstruct: the discriminator's own decoders on given images, and the feature-extractor test."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from random_networks import perceptual_params
from tool_modules import load_tool

from fastgan_jax.errors import UserError
from fastgan_jax.inference import restore
from fastgan_jax.inference.reconstruction import reconstruct
from fastgan_jax.models import lpips
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import write_arrays
from fastgan_jax.utils.images import to_unit


@pytest.fixture(scope="module")
def tool():
    return load_tool("reconstruct")


def grid_of(path: Path, rows: int) -> np.ndarray:
    """The rows of images, without the titles above them."""
    with Image.open(path) as file:
        return np.asarray(file)[-(rows * 66 - 2) :]


def test_the_tool_shows_what_reconstruct_makes(
    tool, smoke_run_d, smoke_run, image_folder, smoke_run_images, tmp_path, capsys
):
    out = tmp_path / "new" / "reconstructions.png"
    command = ["--run", str(smoke_run), "--images", str(image_folder), str(image_folder / "1.png"), "--out", str(out)]
    assert tool.main(command) == 0
    assert "4 images, real | big, iteration 4" in capsys.readouterr().out
    wide = np.full_like(smoke_run_images[0], 200)
    shown = np.stack([smoke_run_images[0], smoke_run_images[1], wide, smoke_run_images[1]])
    expected = reconstruct(smoke_run_d.discriminator, "nearest", smoke_run_d.variables, shown)
    grid = grid_of(out, 4)
    assert grid.shape == (4 * 66 - 2, 2 * 66 - 2, 3)
    for row in range(4):
        np.testing.assert_array_equal(grid[row * 66 : row * 66 + 64, :64], shown[row])
        rebuilt = np.int32(grid[row * 66 : row * 66 + 64, 66:])
        assert np.abs(rebuilt - np.int32(expected["big"][row])).max() <= 1  # another batch size may round otherwise
    with Image.open(out) as file:
        titles = np.asarray(file)[: file.height - len(grid)]
        assert file.text == {"run": smoke_run.name, "step": "4", "quadrant": "top-left"}
    assert (titles[:, :64] < 128).any() and (titles[:, 66:] < 128).any()
    assert tool.main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_cells_that_quadrant_names(tool, smoke_run, image_folder, tmp_path, capsys):
    assert tool.cells_of("eighth")[::63] == ("0", "63") and tool.cells_of("quadrant")[3] == "bottom-right"
    command = ["--run", str(smoke_run), "--images", str(image_folder), "--out", str(tmp_path / "x.png")]
    assert tool.main([*command, "--quadrant", "5"]) == 2
    assert "--quadrant 5: must be one of top-left, top-right" in capsys.readouterr().err


@pytest.mark.slow
def test_the_probe_writes_what_it_prints(tool, smoke_run, smoke_run_images, tmp_path, capsys):
    out = tmp_path / "probe.png"
    options = ["--distance", "l1", "--iterations", "3", "--batch-size", "4", "--learning-rate", "0.005"]
    assert tool.main(["--run", str(smoke_run), "--probe", "--out", str(out), *options]) == 0
    printed = capsys.readouterr().out
    written = json.loads(out.with_suffix(".json").read_text())
    assert written["measure"] == "l1" and "smoke, iteration 4: l1\n" in printed
    assert (written["num_learned"], written["num_held_out"], written["iterations"]) == (17, 3, 3)
    for number, mean in written["means"].items():
        assert mean == pytest.approx(np.mean([row[number] for row in written["held_out"]])) and mean > 0
    for name in ("f1", "f2"):
        before, after = (f"{written['means'][f'{when}_{name}']:.4f}" for when in ("before", "after"))
        assert re.search(rf"{name} .* {before}  {after}\n", printed)
    rows = [int(row["name"].removeprefix("demo ")) for row in written["held_out"]]
    grid = grid_of(out, 3)
    np.testing.assert_array_equal(grid[:64, :64], smoke_run_images[rows[0]])
    assert grid.shape[1] == 3 * 66 - 2


@pytest.mark.slow
def test_a_perceptual_distance_has_parameters(tool, smoke_run_d, smoke_run_images, tmp_path, monkeypatch):
    params = perceptual_params("squeeze")
    arrays = {f"input/{name}": array for name, array in params["input"].items()}
    arrays |= {f"{layer}/{leaf}": x for layer, leaves in params["backbone"].items() for leaf, x in leaves.items()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_arrays(store.cached_path("squeezenet_caffe"), arrays)
    arguments = tool.parse(["--run", "r", "--probe", "--out", "o.png", "--net", "squeeze_caffe"])
    measure, distance, params = tool.find_distance(arguments, smoke_run_d.config)
    assert "not LPIPS" in measure
    first, second = (to_unit(jnp.asarray(smoke_run_images[start : start + 2, ::2, ::2])) for start in (0, 1))
    value = jax.jit(lambda *x: distance.compare(params, *(distance.embed(params, y) for y in x)))(first, second)
    np.testing.assert_allclose(
        value, lpips.compare(params, *(lpips.embed("squeeze", params, x) for x in (first, second))), rtol=1e-4
    )


def test_plain_distances_need_no_weights(tool, smoke_run_d):
    arguments = tool.parse(["--run", "r", "--probe", "--out", "o.png", "--distance", "l2"])
    measure, distance, params = tool.find_distance(arguments, smoke_run_d.config)
    assert measure == "l2" and params is None
    first = np.ones((2, 4, 4, 3), np.float32)
    np.testing.assert_array_equal(distance.compare(params, first, 0 * first), [1, 1])


def test_lpips_of_other_channels_is_refused_where_it_is_asked_for(tool, smoke_run_d, caplog):
    command = ["--run", "r", "--probe", "--out", "o.png"]
    gray = smoke_run_d.config.copy_and_resolve_references()
    gray.model.channels = 1
    for asked in (["--distance", "lpips"], ["--net", "squeeze"]):
        with pytest.raises(UserError, match="--distance lpips takes 3 channels, and the run has 1: --distance l1"):
            tool.find_distance(tool.parse([*command, *asked]), gray)
    assert tool.find_distance(tool.parse(command), gray)[0] == "l1"
    assert "the distance is l1: lpips takes 3 channels, and the run has 1" in caplog.text


def unreachable(*_):
    raise OSError("unreachable")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "{folder}/none.png"], "{folder}/none.png: no such file or folder"),
        (["--images", "{folder}/empty"], "{folder}/empty: there is no image in this folder"),
        (["--images", "{folder}/broken.png"], "{folder}/broken.png: not a readable image"),
        (["--images", "{folder}/0.png", "--step", "new"], "--step new"),
        (["--images", "{folder}", "--out", "{folder}/new.png"], "--out {folder}/new.png lies among the images"),
        (["--images", "{folder}/0.png", "--out", "a.jpg"], "--out a.jpg: must be a .png file"),
        (["--images", "{folder}/0.png", "--data", "{folder}"], "--data has no effect with --images: leave it out"),
        (["--images", "{folder}/0.png", "--held-out", "0.5"], "--held-out has no effect with --images: leave it out"),
        (["--probe", "--quadrant", "top-left"], "--quadrant has no effect with --probe"),
        (["--probe", "--distance", "l2", "--weights", "a.pth"], "--weights has no effect with --distance l2"),
        (["--probe", "--net", "vgg"], "vgg16"),
        (["--probe", "--distance", "l1", "--iterations", "0"], "iterations=0"),
        (["--probe", "--distance", "l1", "--held-out", "2"], "held_out=2.0"),
        (["--probe", "--data", "/nowhere"], "--data /nowhere: no such folder or zip"),
    ],
)
def test_the_tools_errors(tool, smoke_run, image_folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_download", unreachable)
    (image_folder / "empty").mkdir(exist_ok=True)
    (image_folder / "broken.png").write_bytes(b"no image")
    filled = [argument.format(folder=image_folder) for argument in arguments]
    assert tool.main(["--run", str(smoke_run), "--out", str(tmp_path / "out.png"), *filled]) == 2
    (image_folder / "broken.png").unlink()
    error = capsys.readouterr().err
    assert re.search(f"^error: .*{re.escape(message.format(folder=image_folder))}", error, re.MULTILINE)
    assert ("--distance l1" in error) == ("--net" in arguments)
    assert not list(tmp_path.glob("out*"))


def test_a_discriminator_without_decoders(tool, smoke_run_d, smoke_run, image_folder, tmp_path, capsys, monkeypatch):
    bare = smoke_run_d._replace(discriminator=smoke_run_d.discriminator.copy(decoders=()))
    monkeypatch.setattr(restore, "load_discriminator", lambda *_: bare)
    command = ["--run", str(smoke_run), "--images", str(image_folder / "0.png"), "--out", str(tmp_path / "out.png")]
    assert tool.main(command) == 2
    assert "has no decoders (model.decoders is empty): try --probe" in capsys.readouterr().err


def test_images_or_the_probe_must_be_chosen(tool, capsys):
    for chosen in ([], ["--probe", "--images", "a.png"]):
        assert tool.main(["--run", "r", "--out", "o.png", *chosen]) == 2
        assert "--images" in capsys.readouterr().err
