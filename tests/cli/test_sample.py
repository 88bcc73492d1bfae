"""fastgan sample: grids, folders and zips."""

import zipfile

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool, pixels, run

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.inference.picking import realness
from fastgan_jax.inference.restore import load_discriminator


def test_sample_writes_a_grid_or_single_images(smoke_run, tmp_path, capsys):
    assert run("sample", "--run", smoke_run, "--num", 5, "--seed", 2, "--out", tmp_path / "grid.png") == 0
    assert run("sample", "--run", smoke_run, "--num", 2, "--first", 3, "--seed", 2, "--out", tmp_path / "d") == 0
    assert str(tmp_path / "grid.png") in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == ["seed0002_000003.png", "seed0002_000004.png"]
    expected = fastgan_jax.load(str(smoke_run)).sample(5, seed=2)
    with Image.open(tmp_path / "d" / names[1]) as image:
        np.testing.assert_array_equal(np.asarray(image), expected[4])
        assert image.text == {"run": "smoke", "step": "4", "truncation": "1", "seed": "2", "index": "4"}
    np.testing.assert_array_equal(pixels(tmp_path / "grid.png")[:64, :64], expected[0])


def test_sample_makes_one_image_of_each_of_several_seeds_into_a_zip(smoke_run, tmp_path):
    assert run("sample", "--run", smoke_run, "--seeds", "3,7-8", "--out", tmp_path / "x.zip") == 0
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == [f"seed000{seed}_000000.png" for seed in (3, 7, 8)]
        archive.extractall(tmp_path)
    expected = fastgan_jax.load(str(smoke_run)).sample(1, seed=8)[0]
    np.testing.assert_array_equal(pixels(tmp_path / "seed0008_000000.png"), expected)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".png"] == ["x.zip"]


def test_other_images_in_a_folder_stay_and_are_counted(smoke_run, tmp_path, capsys):
    options = ["--run", smoke_run, "--out", tmp_path]
    assert run("sample", *options, "--num", 2) == 0
    assert capsys.readouterr().out == f"2 images of iteration 4: {tmp_path}\n"
    assert run("sample", *options, "--num", 1, "--first", 2) == 0
    assert capsys.readouterr().out == f"1 image of iteration 4: {tmp_path}, beside 2 others\n"
    assert run("sample", *options, "--num", 2, "--overwrite") == 0
    assert capsys.readouterr().out == f"2 images of iteration 4: {tmp_path}, beside 1 other\n"


def test_sample_makes_several_images_of_several_seeds_in_batches(smoke_run, tmp_path):
    tool = load_tool("sample")
    tool.BATCH = 3
    options = ["--seeds", "3,4,3", "--num", "2", "--truncation", "0.5", "--out", str(tmp_path / "d")]
    assert tool.main(["--run", str(smoke_run), *options]) == 0
    sampler = fastgan_jax.load(str(smoke_run))
    names = [f"seed000{seed}_00000{index}.png" for seed in (3, 4) for index in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == names
    expected = np.concatenate([sampler.sample(2, seed, truncation=0.5) for seed in (3, 4)])
    np.testing.assert_array_equal(np.stack([pixels(tmp_path / "d" / name) for name in names]), expected)


def test_each_image_is_the_best_of_several_by_the_discriminator(smoke_run, tmp_path):
    options = ("--run", smoke_run, "--seed", 2, "--num", 2, "--first", 1)
    assert run("sample", *options, "--pick", 3, "--out", tmp_path / "d") == 0
    candidates = fastgan_jax.load(smoke_run).sample(6, seed=2, first=3)
    scores = realness(load_discriminator(smoke_run), candidates, np.zeros(6, np.int32))
    best = scores.reshape(2, 3).argmax(1) + [0, 3]
    for number, row in enumerate(best, start=1):
        with Image.open(tmp_path / "d" / f"seed0002_{number:06d}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), candidates[row])
            assert (image.text["index"], image.text["pick"]) == (str(3 + row), "3")


def test_the_discriminators_score_is_of_the_image_alone(smoke_run):
    trained, images = load_discriminator(smoke_run), fastgan_jax.load(smoke_run).sample(9, seed=4)
    scores = realness(trained, images, np.zeros(9, np.int32))
    assert scores.shape == (9,) and len(set(scores.tolist())) > 1
    np.testing.assert_allclose(realness(trained, images[4:5], np.zeros(1, np.int32)), scores[4:5], rtol=1e-6)


def test_a_zip_that_could_not_be_finished_leaves_nothing(tmp_path):
    def broken():
        yield "a.png", np.zeros((2, 2, 3), np.uint8), {}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_tool("sample").write_zip(tmp_path / "x.zip", broken())
    assert not list(tmp_path.iterdir())


def test_classes_go_in_turn_by_index(caplog):
    tool = load_tool("sample")
    assert tool.class_labels(None, [(0, 4), (0, 5), (1, 4)], 3) == [1, 2, 1]
    assert tool.class_labels(None, [(0, 4)], 0) is None and not caplog.records
    assert tool.class_labels(None, [(0, 4), (1, 4)], 3) == [1, 1]
    assert caplog.messages == ["all images are of class 1, since that goes by the index; --labels chooses"]
    assert tool.class_labels([2], [(0, 4), (0, 5)], 3) == [2, 2]
    assert tool.class_labels([2, 0], [(0, 4), (0, 5)], 3) == [2, 0]
    for wrong in ([1, 2, 0], [3], [0, -1]):
        with pytest.raises(UserError, match="one for each of the 2 images, from 0 to 2"):
            tool.class_labels(wrong, [(0, 4), (0, 5)], 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nothing"], "nothing holds no checkpoint"),
        (["--num", "0"], "--num 0: must be a whole number, at least 1"),
        (["--num", "1000001"], "1000001 images are more than 1000000: give fewer"),
        (["--columns", "-1"], "--columns -1: must be a whole number, at least 1"),
        (["--seed", "-1"], "--seed -1: must be a whole number from 0 to 4294967295"),
        (["--seeds", "5-3"], "--seeds 5-3: must be numbers"),
        (["--seeds", ""], "--seeds : must be numbers"),
        (["--first", "-1"], "--first -1: must be a whole number from 0 to 4294967295"),
        (["--first", "1000000000", "--pick", "8"], "the last image would have the index 8000000127"),
        (["--columns", "3", "--out", "new.zip"], "--columns has no effect with single images"),
        (["--truncation", "nan"], "--truncation nan: must be a number from 0.01 to 1"),
        (["--step", "3"], "has no checkpoint 3"),
        (["--step", "best"], "has no best checkpoint, since nothing was evaluated"),
        (["--step", "newest"], "--step newest: must be latest, best or an iteration"),
        (["--labels", "a"], "--labels a: must be whole numbers joined by commas"),
        (["--labels", "1"], "unconditional"),
        (["--out", "there.png"], "there.png exists already"),
        (["--out", "there.png/below.png"], "there.png is not a folder"),
        (["--out", "new.jpg"], "--out new.jpg: must be a .png file"),
        (["--out", "folder.png", "--overwrite"], "folder.png is a folder: choose another --out"),
    ],
)
def test_sample_names_bad_input(smoke_run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert run("sample", "--run", smoke_run, "--out", "new.png", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "there.png"]
