"""The tools that make images and films of a trained model."""

import argparse
import os
import sys
import time
import zipfile
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tool_modules import load_tool

import fastgan_jax
from fastgan_jax.cli import arguments as tool_support
from fastgan_jax.cli.arguments import check_label, check_truncation, read_seeds, run_tool
from fastgan_jax.errors import UserError
from fastgan_jax.inference.interpolation import interpolate_keyframes
from fastgan_jax.inference.latents import read_latents
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.generator import Generator, noise_sides
from fastgan_jax.models.init import initial_variables
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.checks import check_at_least_one, check_seed
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs
from fastgan_jax.utils.grids import captioned


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def run(tool: str, *arguments) -> int:
    return load_tool(tool).main([str(argument) for argument in arguments])


def film_frames(folder, count: int) -> np.ndarray:
    """The frames of a folder that must hold `count`."""
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"frame_{index:06d}.png" for index in range(count)]
    return np.stack([pixels(path) for path in paths])


# ------------------------------------------------------------------------------------------------------------- sample


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


def test_a_zip_that_could_not_be_finished_leaves_nothing(tmp_path):
    def broken():
        yield "a.png", np.zeros((2, 2, 3), np.uint8), {}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_tool("sample").write_zip(tmp_path / "x.zip", broken())
    assert not list(tmp_path.iterdir())


def test_classes_go_in_turn_by_index():
    tool = load_tool("sample")
    assert tool.class_labels(None, [(0, 4), (0, 5), (1, 4)], 3) == [1, 2, 1]
    assert tool.class_labels(None, [(0, 4)], 0) is None
    assert tool.class_labels("2", [(0, 4), (0, 5)], 3) == [2, 2]
    assert tool.class_labels("2,0", [(0, 4), (0, 5)], 3) == [2, 0]
    for wrong in ("1,2,0", "3", "0,-1"):
        with pytest.raises(UserError, match="one for each of the 2 images, from 0 to 2"):
            tool.class_labels(wrong, [(0, 4), (0, 5)], 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nothing"], "nothing holds no checkpoint"),
        (["--num", "0"], "--num 0: give at least 1"),
        (["--num", "1000001"], "1000001 images are more than 1000000: give fewer"),
        (["--columns", "-1"], "--columns -1: give at least 1"),
        (["--seed", "-1"], "--seed -1: give a number from 0 to 4294967295"),
        (["--seeds", "5-3"], "--seeds 5-3: give numbers"),
        (["--seeds", ""], "--seeds : give numbers"),
        (["--first", "-1"], "--first -1: indices start at 0"),
        (["--truncation", "nan"], "--truncation nan: give 0 or more"),
        (["--step", "3"], "has no checkpoint 3"),
        (["--step", "best"], "has no best checkpoint, since nothing was evaluated"),
        (["--step", "newest"], "--step newest: give latest, best or an iteration"),
        (["--labels", "a"], "--labels a: give numbers joined by commas"),
        (["--labels", "1"], "unconditional"),
        (["--out", "there.png"], "there.png is there already"),
        (["--out", "there.png/below.png"], "there.png is no folder"),
        (["--out", "new.jpg"], "--out new.jpg: give a .png file"),
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


# -------------------------------------------------------------------------------------------------- walks and films


def test_interpolate_shows_its_stations_and_comes_back(smoke_run, tmp_path, capsys):
    out = tmp_path / "frames"
    assert run("interpolate", "--run", smoke_run, "--seeds", "1,2", "--frames", 5, "--out", out) == 0
    assert "10 frames of iteration 4" in capsys.readouterr().out
    sampler = fastgan_jax.load(str(smoke_run))
    stations = np.concatenate([sampler.latents(1, seed) for seed in (1, 2)])
    expected = sampler.generate(interpolate_keyframes(stations, 5, closed=True), noise_seed=0)
    np.testing.assert_array_equal(film_frames(out, 10), expected)
    np.testing.assert_array_equal(expected[[0, 5]], sampler.generate(stations, noise_seed=0))
    assert run("interpolate", "--run", smoke_run, "--seeds", "1,2", "--frames", 5, "--out", out) == 2


def test_a_shorter_film_in_the_same_folder_replaces_the_whole_film(smoke_run, tmp_path):
    out = tmp_path / "frames"
    for frames in (3, 2):
        options = ["--seeds", "1,2", "--frames", frames, "--out", out, "--overwrite"]
        assert run("interpolate", "--run", smoke_run, *options) == 0
        film_frames(out, 2 * frames)


def test_images_of_saved_latents_have_the_noise_that_they_were_found_with(tmp_path, monkeypatch, capsys):
    sampler = use_model(monkeypatch, noise_weight=0.5)
    z, mine, other = sampler.latents(2, 5), tmp_path / "mine.npz", tmp_path / "other.npz"
    np.savez(mine, z=z, noise_seed=7)
    np.savez(other, z=z, noise_seed=8)
    own = sampler.generate(z, noise_seed=7)
    assert not np.array_equal(own, sampler.generate(z, noise_seed=0)), "noise must show for this test to mean anything"

    assert run("interpolate", "--run", "any", "--latents", mine, "--frames", 1, "--out", tmp_path / "walk") == 0
    np.testing.assert_array_equal(film_frames(tmp_path / "walk", 2), own)
    options = ["--latents", mine, "--frames", 1, "--noise-seed", 0, "--out", tmp_path / "walk", "--overwrite"]
    assert run("interpolate", "--run", "any", *options) == 0
    np.testing.assert_array_equal(film_frames(tmp_path / "walk", 2), sampler.generate(z, noise_seed=0))

    mix = ["--run", "any", "--content-latents", mine, "--out", tmp_path / "mix.png"]
    assert run("style_mix", *mix, "--style", "1") == 0
    table = pixels(tmp_path / "mix.png")
    np.testing.assert_array_equal(table[66:130, :64], own[0])
    np.testing.assert_array_equal(table[:64, 66:], sampler.generate(sampler.latents(1, 1), noise_seed=7)[0])
    assert run("style_mix", *mix, "--overwrite", "--style-latents", other) == 2
    assert "the two files of latents have the noise seeds [7, 8]" in capsys.readouterr().err


def test_interpolate_walks_several_latents_of_a_file_side_by_side(smoke_run, tmp_path):
    z = fastgan_jax.load(str(smoke_run)).latents(4, 5)
    np.savez(tmp_path / "z.npz", z=z)
    options = ["--latents", tmp_path / "z.npz", "--grid", "1x2", "--frames", 2, "--open", "--linear"]
    assert run("interpolate", "--run", smoke_run, "--out", tmp_path / "x.gif", *options) == 0
    with Image.open(tmp_path / "x.gif") as film:
        assert film.size == (130, 64) and film.n_frames == 3


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("interpolate", ["--out", "x.avi"], "films end in"),
        ("interpolate", ["--out", "x.gif", "--seeds", "1"], "1 stations for 1 walk(s)"),
        ("interpolate", ["--out", "x.gif", "--grid", "2"], "--grid 2: give rows and columns"),
        ("interpolate", ["--out", "x.gif", "--frames", "0"], "--frames 0"),
        ("interpolate", ["--out", "x.gif", "--latents", "no.npz"], "no.npz: no such file"),
        ("interpolate", ["--out", "x.gif", "--label", "1"], "unconditional"),
        ("interpolate", ["--out", "x.gif", "--noise-seed", "-1"], "--noise-seed -1: give a number from 0"),
        ("progress", ["--out", "x.gif", "--num", "0"], "--num 0"),
        ("progress", ["--out", "x.gif", "--columns", "0"], "--columns 0"),
        ("progress", ["--out", "x.gif", "--seed", "-1"], "--seed -1"),
        ("progress", ["--out", "x.gif", "--label", "0"], "--label 0: this model is unconditional"),
        ("progress", ["--out", "x.gif", "--run", "nothing"], "nothing holds no checkpoint"),
        ("progress", ["--out", "there.gif"], "there.gif is there already"),
        ("style_mix", ["--out", "x.jpg"], "--out x.jpg: give a .png"),
        (
            "style_mix",
            ["--out", "x.png", "--resolutions", "32"],
            "style resolution 32 is not in this model; it has [64]",
        ),
        ("style_mix", ["--out", "x.png", "--resolutions", "a"], "--resolutions a: give numbers"),
        ("style_mix", ["--out", "x.png", "--content", "x"], "--content x: give numbers"),
    ],
)
def test_films_and_tables_name_bad_input(smoke_run, tmp_path, monkeypatch, capsys, tool, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.gif").write_bytes(b"")
    assert run(tool, "--run", smoke_run, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.gif"]


def test_progress_shows_every_kept_checkpoint(smoke_run, tmp_path, capsys):
    assert run("progress", "--run", smoke_run, "--num", 2, "--out", tmp_path / "frames", "--no-caption") == 0
    assert "iterations 0, 2, 4" in capsys.readouterr().out
    expected = fastgan_jax.load(str(smoke_run), 2).sample(2)
    frame = pixels(tmp_path / "frames" / "frame_000001.png")
    np.testing.assert_array_equal(frame[:64, :64], expected[0])
    np.testing.assert_array_equal(frame[:64, 66:], expected[1])
    one = ["--run", smoke_run / "checkpoints" / "2", "--num", 2, "--out", tmp_path / "same", "--no-caption"]
    assert run("progress", *one) == 0
    np.testing.assert_array_equal(film_frames(tmp_path / "same", 3), film_frames(tmp_path / "frames", 3))


def test_a_caption_stands_below_the_image():
    for channels in (1, 3, 4):
        image = np.full((40, 200, channels), 7, np.uint8)
        with_text = captioned(image, "iteration 10")
        np.testing.assert_array_equal(with_text[:40], image)
        below = with_text[40:]
        assert below.shape[1:] == (200, channels) and below.min() < 50 and below.max() == 255


def test_a_long_caption_fits_a_narrow_image():
    below = captioned(np.zeros((64, 64, 3), np.uint8), "iteration 50000")[64:]
    assert below[:, [0, -1]].min() == 255 and below.min() < 128


def test_a_style_mix_has_its_sources_at_the_margins_and_themselves_on_the_diagonal(smoke_run, tmp_path):
    out = tmp_path / "mix.png"
    assert run("style_mix", "--run", smoke_run, "--content", "1-2", "--style", "1-2", "--out", out) == 0
    table = pixels(out)
    tiles = [
        [table[66 * row : 66 * row + 64, 66 * column : 66 * column + 64] for column in range(3)] for row in range(3)
    ]
    sampler = fastgan_jax.load(str(smoke_run))
    own = [sampler.sample(1, seed)[0] for seed in (1, 2)]
    assert tiles[0][0].min() == 255
    for index in (1, 2):
        for tile in (tiles[0][index], tiles[index][0], tiles[index][index]):
            np.testing.assert_array_equal(tile, own[index - 1])
    assert not np.array_equal(tiles[1][2], tiles[1][1])


# ------------------------------------------------------------------------------------------------------------ shared


def test_seeds_are_numbers_and_ranges():
    assert read_seeds("0,3, 7-9") == [0, 3, 7, 8, 9]
    for wrong in ("", "a", "1,,2", "3-1", "4294967296", "1.5"):
        with pytest.raises(UserError, match="give numbers from 0"):
            read_seeds(wrong)
    with pytest.raises(UserError, match="--seeds 0-4294967295: these are more than 1000000 seeds"):
        read_seeds("0-4294967295")


def test_files_without_latents_are_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"x")
    np.savez(tmp_path / "y.npz", w=np.zeros(3))
    for name in ("x.npz", "y.npz"):
        with pytest.raises(UserError, match=f"{name} holds no latents z"):
            read_latents(tmp_path / name)
    for shape in (3, (0, 4)):
        np.savez(tmp_path / "z.npz", z=np.zeros(shape))
        with pytest.raises(UserError, match=r"z has shape \[.*3|0, 4\], not \[N, nz\]"):
            read_latents(tmp_path / "z.npz")


def test_a_file_of_latents_says_their_noise_and_their_class(tmp_path):
    for labels, label in (([2, 2], 2), ([1, 2], None)):
        np.savez(tmp_path / "z.npz", z=np.ones((2, 3)), noise_seed=5, labels=labels)
        z, *facts = read_latents(tmp_path / "z.npz")
        assert z.dtype == np.float32 and facts == [5, label]


def test_existing_files_are_replaced_only_on_request(tmp_path):
    (tmp_path / "x").write_text("x")
    check_outputs([tmp_path / "x"], overwrite=True)
    with pytest.raises(UserError, match="x is there already: choose another --out, or add --overwrite"):
        check_outputs([tmp_path / "new", tmp_path / "x"], overwrite=False)
    with pytest.raises(UserError, match=f"{tmp_path.name} is a folder"):
        check_outputs([tmp_path], overwrite=True)


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=f"x.png cannot be written, since {tmp_path} is read-only"):
        check_outputs([tmp_path / "new" / "x.png"], overwrite=False)


def test_numbers_out_of_range_are_named():
    check_at_least_one(num=1, columns=None)
    with pytest.raises(UserError, match="--batch-size 0: give at least 1"):
        check_at_least_one(num=1, batch_size=0)
    assert check_seed(2**32 - 1) == 2**32 - 1
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match=f"--s {seed}: give a number from 0 to 4294967295"):
            check_seed(seed, "--s")
    assert check_label(2, 3) == 2 and check_label(None, 0) is None
    for label, classes, message in (
        (None, 3, "this model is conditional; give --label from 0 to 2"),
        (3, 3, "--label 3: there is no such class; give --label from 0 to 2"),
        (0, 0, "--label 0: this model is unconditional; leave --label out"),
    ):
        with pytest.raises(UserError, match=message):
            check_label(label, classes)


def test_errors_of_files_are_one_line(tmp_path, capsys):
    assert run_tool(lambda argv: None, lambda _: (tmp_path / "no" / "x").write_bytes(b"")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'no' / 'x'}: No such file or directory\n"


def test_a_run_has_its_name_however_it_is_named(tmp_path):
    for path in ("demo", "demo/checkpoints", "demo/checkpoints/600", "demo/../demo"):
        assert run_name(tmp_path / path) == "demo"
    assert run_name(tmp_path / "600") == "600"


def test_truncation_is_a_number_from_0_up():
    assert check_truncation(0) == 0
    for wrong in (-0.5, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--truncation .*: give 0 or more"):
            check_truncation(wrong)


def test_what_takes_long_is_said_and_what_does_not_is_not(monkeypatch, capsys):
    for seconds, said in ((0.0, "loading x ...\n"), (60.0, "")):
        monkeypatch.setattr(tool_support, "SHOWN_AFTER_SECONDS", seconds)
        with tool_support.announced("loading x"):
            time.sleep(0.2)
        assert capsys.readouterr().err == said


def test_progress_off_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    moments = iter([0.0, 1.0, 15.0, 15.0, 16.0, 30.0, 30.0, 40.0])
    monkeypatch.setattr(tool_support.time, "monotonic", lambda: next(moments))
    assert list(Progress("abcd", title="parts")) == list("abcd")
    assert capsys.readouterr().err == "parts 2/4\nparts 4/4\n"
    with Progress(total=None, title="parts") as bar:
        monkeypatch.setattr(tool_support.time, "monotonic", lambda: 60.0)
        bar.update(3)
    assert capsys.readouterr().err == "parts 3\n"


def test_a_tool_keeps_its_compiled_programs_where_it_can(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    (tmp_path / "file").touch()
    for home, chosen, expected in (
        (tmp_path / "new", None, str(tmp_path / "new" / "fastgan_jax" / "compiled")),
        (tmp_path / "new", "/mine", "/mine"),
        (tmp_path / "file", None, None),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", chosen or "")
        if chosen is None:
            monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
        assert run_tool(lambda argv: None, lambda _: None) == 0
        assert os.environ.get("JAX_COMPILATION_CACHE_DIR") == expected


def test_a_device_without_enough_memory_is_told(capsys):
    def exhausted(_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")

    assert run_tool(lambda argv: argparse.Namespace(batch_size=8), exhausted) == 2
    assert capsys.readouterr().err == "error: --batch-size 8: the device's memory is not enough: give a smaller one\n"
    assert run_tool(lambda argv: argparse.Namespace(), exhausted) == 2
    assert "end other programs" in capsys.readouterr().err

    def other(_):
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault of the program"):
        run_tool(lambda argv: argparse.Namespace(), other)


def test_an_interrupted_tool_ends_with_130(capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    assert run_tool(lambda argv: None, interrupted) == 130
    assert capsys.readouterr().err == "stopped\n"


# ------------------------------------------------------------------------------------------- other models than usual


def use_model(monkeypatch, noise_weight: float = 0, **parts) -> Sampler:
    """Lets the tools find a model of other parts, untrained, whatever run folder is named."""
    generator = Generator(64, ngf=4, **parts)
    spec = partial(jax.ShapeDtypeStruct, dtype=np.float32)
    noise = tuple(spec((2, side, side, 1)) for side in noise_sides(64))
    labels = jax.ShapeDtypeStruct((2,), np.int32)
    variables = initial_variables(jax.random.key(0), generator, spec((2, 8)), noise, labels, train=False)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + noise_weight if path[-1].key == "noise_weight" else leaf, variables["params"]
    )
    sampler = Sampler(generator, variables | {"params": params}, z_dim=8, step=4)
    monkeypatch.setattr(fastgan_jax, "load", lambda path, step="latest": sampler)
    return sampler


def test_every_tool_serves_a_conditional_model_with_transparency(smoke_run, tmp_path, monkeypatch, capsys):
    sampler = use_model(monkeypatch, num_classes=3, channels=4)
    z = np.concatenate([sampler.latents(1, seed) for seed in (1, 2)])
    own, of_class_2 = sampler.generate(z, labels=[0, 0]), sampler.generate(z, labels=[2, 2])
    assert not np.array_equal(own, of_class_2), "the class must show for this test to mean anything"
    assert run("sample", "--run", "any", "--seeds", "1-2", "--out", tmp_path / "turn") == 0
    assert run("sample", "--run", "any", "--seeds", "1-2", "--labels", "2", "--out", tmp_path / "two") == 0
    for folder, expected in (("turn", own), ("two", of_class_2)):
        np.testing.assert_array_equal([pixels(path) for path in sorted((tmp_path / folder).iterdir())], expected)

    walk_options = ["--run", "any", "--seeds", "1-2", "--frames", 5, "--out", tmp_path / "walk"]
    mix_options = ["--run", "any", "--content", "1-2", "--style", "1-2", "--out", tmp_path / "mix.png"]
    for tool, options in (("interpolate", walk_options), ("style_mix", mix_options)):
        assert run(tool, *options) == 2
        assert "this model is conditional; give --label from 0 to 2" in capsys.readouterr().err
        assert run(tool, *options, "--label", 2) == 0
    expected = sampler.generate(interpolate_keyframes(z, 5, closed=True), labels=[2] * 10, noise_seed=0)
    np.testing.assert_array_equal(film_frames(tmp_path / "walk", 10), expected)
    np.testing.assert_array_equal(pixels(tmp_path / "mix.png")[66:130, 66:130], of_class_2[0])

    progress = ["--run", smoke_run, "--num", 1, "--seed", 1, "--label", 2, "--out", tmp_path / "film.webp"]
    assert run("progress", *progress) == 0
    assert run("progress", *progress[:-1], tmp_path / "films", "--no-caption") == 0
    np.testing.assert_array_equal(film_frames(tmp_path / "films", 3)[0], of_class_2[0])


def test_a_model_without_excitation_has_no_style_to_mix(tmp_path, monkeypatch, capsys):
    use_model(monkeypatch, skip_excitation=False)
    assert run("style_mix", "--run", "any", "--out", tmp_path / "mix.png") == 2
    assert "any: this model has no skip-layer excitation" in capsys.readouterr().err
