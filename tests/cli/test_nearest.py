"""fastgan nearest: image and table of the nearest training images, and what it refuses."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from random_networks import cache_random_squeezenet
from tool_modules import load_tool

import fastgan_jax
from fastgan_jax.inference.restore import load_training_set
from fastgan_jax.utils.grids import save_png


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder with a random SqueezeNet as the only weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        cache_random_squeezenet()
        yield


@pytest.fixture(scope="module")
def real(smoke_run) -> np.ndarray:
    """The demo images that the smoke run is trained on, uint8 [20, 64, 64, 3]."""
    return load_training_set(smoke_run, fastgan_jax.load(smoke_run).config).images


@pytest.fixture(scope="module")
def tool():
    return load_tool("nearest")


def test_the_tool_writes_image_and_table(tool, smoke_run, tmp_path, capsys):
    out = tmp_path / "new" / "nearest.png"
    command = ["--run", str(smoke_run), "--net", "squeeze_caffe", "--num", "2", "--neighbours", "3", "--out", str(out)]
    assert tool.main([*command, "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    written = json.loads(out.with_suffix(".json").read_text())
    assert (written["step"], written["seed"], written["num_real"]) == (4, 5, 20)
    assert written["measure"] in printed and "not LPIPS" in written["measure"]
    for sample in written["samples"]:
        for found in sample["neighbours"]:
            assert re.fullmatch(r"demo \d+", found["name"])
            assert re.search(rf"{found['distance']:.4f}.  {found['name']}( \(mirrored\))?\n", printed)
    with Image.open(out) as file:
        np.testing.assert_array_equal(np.asarray(file)[:64, :64], fastgan_jax.load(smoke_run).sample(1, 5)[0])
        assert file.width == 4 * 64 + 3 * 2 and file.text["seed"] == "5"
    assert tool.main(command) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_tool_searches_other_images(tool, smoke_run, real, tmp_path, capsys):
    (tmp_path / "moved").mkdir()
    for index in range(3):
        save_png(tmp_path / "moved" / f"näher {index}.png", real[index])
    out = tmp_path / "nearest.png"
    command = ["--run", str(smoke_run), "--net", "squeeze_caffe", "--num", "1", "--out", str(out)]
    assert tool.main([*command, "--data", str(tmp_path / "moved")]) == 0
    assert "nearest of 3 real images" in capsys.readouterr().out
    report = json.loads(out.with_suffix(".json").read_text())
    assert not report["trained_on"]
    names = {found["name"] for found in report["samples"][0]["neighbours"]}
    assert names == {f"näher {index}.png" for index in range(3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num", "0"], "--num.0: must be .*at least 1"),
        (["--seed", "-1"], "--seed.-1: must be .*from 0"),
        (["--neighbours", "0"], "--neighbors.* ?0: must be .*at least 1"),
        (["--neighbours", "21"], "neighbors=21: must be from 1 to 20"),
        (["--out", "nearest.jpg"], "--out nearest.jpg: (give|must be) a .png file"),
        (["--step", "3"], "has no checkpoint 3"),
        (["--data", "/nowhere", "--weights", "none.npz"], "--data /nowhere: no such folder or zip"),
        (["--weights", "none.npz"], ".*none.npz: no such file.*: --weights FILE, or another --net"),
    ],
)
def test_the_tools_errors(tool, smoke_run, tmp_path, capsys, arguments, message):
    command = ["--run", str(smoke_run), "--net", "squeeze_caffe", "--out", str(tmp_path / "nearest.png")]
    assert tool.main([*command, *arguments]) == 2
    assert re.match(f"error: .*{message}", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
