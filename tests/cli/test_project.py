"""The command `project`: the files that it writes reproduce what it found, and bad input is named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from random_networks import perceptual_params
from tool_modules import load_tool, use_model

import fastgan_jax
from configs import smoke
from fastgan_jax.inference.restore import load_training_set
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import write_arrays
from fastgan_jax.utils.grids import save_png


@pytest.fixture(scope="module")
def tool():
    return load_tool("project")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, smoke_run) -> Path:
    """A folder with an image of the smoke run's generator, and a wide gray image in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    save_png(folder / "own.png", fastgan_jax.load(smoke_run).sample(1, seed=9)[0])
    (folder / "sub").mkdir()
    Image.new("L", (90, 50), 200).save(folder / "sub" / "wide.jpg")
    return folder


QUICK = ["--distance", "l2", "--updates", "5", "--starts", "2", "--batch-size", "2"]


def test_the_tool_writes_what_it_says(tool, folder, smoke_run, tmp_path, capsys):
    out = tmp_path / "projected"
    command = ["--run", str(smoke_run), "--out", str(out), *QUICK, "--images", str(folder), str(folder / "own.png")]
    assert tool.main(command) == 0
    printed = capsys.readouterr().out
    names = ["000_own.png", "001_wide.png", "002_own.png"]
    for name in [*names, "side_by_side.png", "table.json", "projected.npz"]:
        assert f"{out / name}\n" in printed and (out / name).is_file()

    saved = np.load(out / "projected.npz")
    loaded = fastgan_jax.load(smoke_run)
    images = loaded.generate(saved["z"], noise_seed=int(saved["noise_seed"]))
    for image, name in zip(images, names, strict=True):
        with Image.open(out / name) as file:
            np.testing.assert_array_equal(np.asarray(file), image)
            assert file.text["noise_seed"] == "0" and file.text["step"] == str(loaded.step)
    assert saved["names"].tolist() == [str(folder / "own.png"), str(folder / "sub/wide.jpg"), str(folder / "own.png")]
    np.testing.assert_allclose(saved["z"][0], saved["z"][2], atol=1e-3)  # the same image twice

    written = json.loads((out / "table.json").read_text())
    assert written["measure"] in printed and written["updates"] == 5
    for row in written["pictures"]:
        assert row["after"] < row["before"]
        assert f"{row['after']:.4f}" in printed
    with Image.open(out / "side_by_side.png") as file:
        grid = np.asarray(file)
    np.testing.assert_array_equal(grid[:64, 66:130], images[0])

    assert tool.main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_several_checkpoints_have_a_folder_each_and_a_table_of_means(tool, smoke_run, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["--run", str(smoke_run), "--out", str(out), *QUICK, "--training", "3,5", "--step"]
    assert tool.main([*command, "2,latest"]) == 0
    printed = capsys.readouterr().out
    means = json.loads((out / "iterations.json").read_text())["iterations"]
    assert [row["step"] for row in means] == [2, 4]
    for row in means:
        table = json.loads((out / str(row["step"]) / "table.json").read_text())
        assert table["step"] == row["step"]
        assert row["after"] == pytest.approx(np.mean([image["after"] for image in table["pictures"]]))
        assert f"{row['step']:9}  {row['before']:.4f}  {row['after']:.4f}" in printed
    assert tool.main([*command, "4,3", "--overwrite"]) == 2
    assert "has no checkpoint 3" in capsys.readouterr().err


def test_the_tool_projects_training_images(tool, smoke_run, tmp_path, capsys):
    command = ["--run", str(smoke_run), "--out", str(tmp_path / "out"), *QUICK, "--training"]
    assert tool.main([*command, "3,5"]) == 0
    training = load_training_set(smoke_run, fastgan_jax.load(smoke_run).config).images
    with Image.open(tmp_path / "out" / "side_by_side.png") as file:
        grid = np.asarray(file)
    for row, number in enumerate((3, 5)):
        np.testing.assert_array_equal(grid[66 * row : 66 * row + 64, :64], training[number])
        assert (tmp_path / "out" / f"00{row}_training_00000{number}.png").is_file()
    assert tool.main([*command, "3,20", "--overwrite"]) == 2
    assert "--training 3,20: the set has 20 images, counted from 0" in capsys.readouterr().err


def test_a_projection_replaces_the_whole_former_one_and_nothing_else(tool, smoke_run, tmp_path):
    (tmp_path / "002_mine.png").write_bytes(b"mine")
    command = ["--run", str(smoke_run), "--out", str(tmp_path), *QUICK, "--overwrite", "--training"]
    assert tool.main([*command, "3,5"]) == tool.main([*command, "7"]) == 0
    common = ["projected.npz", "side_by_side.png", "table.json"]
    left = ["000_training_000007.png", "002_mine.png", *common]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    (tmp_path / "table.json").write_text("[]")
    assert tool.main([*command, "7"]) == 0


def test_the_tool_finds_weights_of_the_network(tool, folder, smoke_run, tmp_path, monkeypatch, capsys, caplog):
    squeeze = perceptual_params("squeeze")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(store, "_download", unreachable)
    command = ["--run", str(smoke_run), "--images", str(folder / "own.png"), "--out", str(tmp_path / "out")]
    assert tool.main([*command, "--distance", "lpips"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "vgg16" in message and "--distance l2" in message

    arrays = {f"input/{name}": array for name, array in squeeze["input"].items()}
    arrays |= {f"{layer}/{leaf}": x for layer, leaves in squeeze["backbone"].items() for leaf, x in leaves.items()}
    write_arrays(store.cached_path("squeezenet_caffe"), arrays)
    assert tool.main([*command, "--updates", "3", "--starts", "2"]) == 0
    assert "cosine distance (squeeze_caffe), not LPIPS" in capsys.readouterr().out
    assert "squeeze_caffe is used; better, but not here: vgg (553 MB: fastgan weights --fetch vgg)" in caplog.text


def test_a_conditional_run_asks_for_the_classes_of_images(tool, folder, smoke_run, tmp_path, monkeypatch, capsys):
    use_model(monkeypatch, num_classes=3).config = smoke.get_config()
    command = ["--run", str(smoke_run), "--out", str(tmp_path / "out"), *QUICK, "--images", str(folder / "own.png")]
    assert tool.main(command) == 2
    assert "has 3 classes: give those of the images by --labels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert tool.main([*command, "--labels", "2"]) == 0


def unreachable(*_):
    raise OSError("unreachable")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "{folder}/none.png"], "{folder}/none.png: no such file or folder"),
        (["--images", "{folder}/empty"], "there is no image in this folder"),
        (["--images", "{folder}/broken.png"], "broken.png: not a readable image"),
        (["--images", "{folder}/own.png", "--labels", "a"], "--labels a: must be whole numbers"),
        (["--images", "{folder}/own.png", "--labels", "1"], "unconditional"),
        (["--images", "{folder}/own.png", "--step", "new"], "--step new"),
        (["--images", "{folder}/own.png", "--batch-size", "0"], "batch_size=0"),
        (["--images", "{folder}/own.png", "--updates", "-3"], "updates=-3"),
        (["--images", "{folder}/own.png", "--data", "{folder}"], "--data has no effect with --images"),
        (
            ["--images", "{folder}/own.png", "--distance", "l2", "--net", "vgg"],
            "--net has no effect with --distance l2",
        ),
    ],
)
def test_the_tools_errors(tool, folder, smoke_run, tmp_path, capsys, arguments, message):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    filled = [argument.format(folder=folder) for argument in arguments]
    assert tool.main(["--run", str(smoke_run), "--out", str(out), *QUICK, *filled]) == 2
    assert re.match(f"error: .*{re.escape(message.format(folder=folder))}", capsys.readouterr().err)
    assert not out.exists()
    (folder / "broken.png").unlink()
