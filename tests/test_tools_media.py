"""The tools that make pictures and films of a trained model."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tool_modules import load_tool

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.tool_support import check_outputs, read_latents, read_seeds, run_tool
from fastgan_jax.video import durations, write_film
from fastgan_jax.walk import walk
from fastgan_jax.writers import captioned


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def run(tool: str, *arguments) -> int:
    return load_tool(tool).main([str(argument) for argument in arguments])


# ------------------------------------------------------------------------------------------------------------- sample


def test_sample_writes_a_grid_or_single_pictures(smoke_run, tmp_path, capsys):
    assert run("sample", "--run", smoke_run, "--num", 5, "--seed", 2, "--out", tmp_path / "grid.png") == 0
    assert run("sample", "--run", smoke_run, "--num", 2, "--first", 3, "--seed", 2, "--out", tmp_path / "d") == 0
    assert str(tmp_path / "grid.png") in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "d").iterdir())
    assert names == ["seed0002_000003.png", "seed0002_000004.png"]
    expected = fastgan_jax.load(str(smoke_run)).sample(5, seed=2)
    with Image.open(tmp_path / "d" / names[1]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected[4])
        assert picture.text == {"run": "smoke", "step": "4", "seed": "2", "index": "4"}
    np.testing.assert_array_equal(pixels(tmp_path / "grid.png")[:64, :64], expected[0])


def test_sample_makes_one_picture_of_each_of_several_seeds_into_a_zip(smoke_run, tmp_path):
    assert run("sample", "--run", smoke_run, "--seeds", "3,7-8", "--out", tmp_path / "x.zip") == 0
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == [f"seed000{seed}_000000.png" for seed in (3, 7, 8)]
        archive.extractall(tmp_path)
    expected = fastgan_jax.load(str(smoke_run)).sample(1, seed=8)[0]
    np.testing.assert_array_equal(pixels(tmp_path / "seed0008_000000.png"), expected)


def test_classes_go_in_turn_by_index():
    tool = load_tool("sample")
    assert tool.class_labels(None, [(0, 4), (0, 5), (1, 4)], 3) == [1, 2, 1]
    assert tool.class_labels(None, [(0, 4)], 0) is None
    assert tool.class_labels("2", [(0, 4), (0, 5)], 3) == [2, 2]
    assert tool.class_labels("2,0", [(0, 4), (0, 5)], 3) == [2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nothing"], "nothing holds no checkpoint"),
        (["--num", "0"], "--num 0: make at least one"),
        (["--seed", "-1"], "--seed -1: give numbers from 0 to 4294967295"),
        (["--seeds", "5-3"], "--seeds 5-3: give numbers"),
        (["--first", "-1"], "--first -1: indices start at 0"),
        (["--step", "3"], "has no checkpoint 3"),
        (["--step", "best"], "has no best checkpoint, since nothing was evaluated"),
        (["--step", "newest"], "--step newest: give latest, best or an iteration"),
        (["--labels", "a"], "--labels a: give numbers joined by commas"),
        (["--labels", "1"], "unconditional"),
        (["--out", "there.png"], "there.png is there already"),
        (["--out", "there.png/below.png"], "there.png is no folder"),
    ],
)
def test_sample_names_bad_input(smoke_run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"")
    assert run("sample", "--run", smoke_run, "--out", "new.png", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "new.png").exists()


# -------------------------------------------------------------------------------------------------- walks and films


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_a_closed_walk_has_no_jump_and_no_pause(stations, frames, spherical, seed):
    z = np.random.RandomState(seed).normal(size=(stations, 32)).astype(np.float32)
    path = walk(z, frames, closed=True, spherical=spherical)
    assert path.shape == (stations * frames, 32) and path.dtype == np.float32
    np.testing.assert_allclose(path[::frames], z, atol=1e-5)
    steps = np.linalg.norm(np.roll(path, -1, axis=0) - path, axis=1)
    whole = np.linalg.norm(np.roll(z, -1, axis=0) - z, axis=1).max()
    assert steps.min() > 0 and steps.max() <= 1.6 * whole / frames


def test_an_open_walk_ends_at_the_last_station():
    z = np.random.RandomState(0).normal(size=(3, 8)).astype(np.float32)
    path = walk(z, 4, closed=False)
    assert len(path) == 9
    np.testing.assert_allclose(path[[0, 4, 8]], z, atol=1e-6)


def test_a_smooth_walk_rests_at_its_stations():
    z = np.random.RandomState(0).normal(size=(2, 8)).astype(np.float32)
    linear, smooth = (walk(z, 20, closed=False, spherical=False, easing=easing) for easing in ("linear", "smooth"))
    first, middle = (np.linalg.norm(path[1] - path[0]) for path in (linear, smooth))
    assert middle < 0.2 * first
    np.testing.assert_allclose(smooth[10], linear[10], atol=1e-6)


FRAMES = np.random.RandomState(0).randint(0, 256, (7, 1, 1, 3), np.uint8) * np.ones((1, 20, 31, 1), np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_films_have_their_frames_speed_and_colours(tmp_path, suffix):
    if suffix == ".mp4":
        av = pytest.importorskip("av", reason="writing and reading mp4 needs av")
    path = tmp_path / f"film{suffix}"
    assert write_film(path, FRAMES, fps=8) == 7
    if suffix == ".mp4":
        with av.open(str(path)) as film:
            read = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
            assert film.streams.video[0].average_rate == 8
    else:
        with Image.open(path) as film:
            read, shown = [], 0
            for index in range(film.n_frames):
                film.seek(index)
                read.append(np.asarray(film.convert("RGB")))
                shown += film.info["duration"]
            assert film.info["loop"] == 0 and shown == pytest.approx(7 / 8 * 1000, abs=10)
    assert len(read) == 7 and read[0].shape[0] == 20 and read[0].shape[1] in (31, 32)
    for frame, expected in zip(read, FRAMES, strict=True):
        assert np.abs(frame[10, 15].astype(int) - expected[10, 15]).max() < 16
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_folder_of_frames_is_exact_and_keeps_transparency(tmp_path):
    frames = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 4), np.uint8)
    assert write_film(tmp_path / "frames", iter(frames), fps=30) == 3
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(pixels(tmp_path / "frames" / f"frame_00000{index}.png"), frame)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_frames_become_films(tmp_path, channels):
    frames = np.zeros((2, 16, 16, channels), np.uint8)
    write_film(tmp_path / "x.gif", frames, fps=5)
    with Image.open(tmp_path / "x.gif") as film:
        expected = 0 if channels == 1 else 255  # black, or nothing on white
        assert np.asarray(film.convert("RGB")).flatten().tolist() == [expected] * 16 * 16 * 3


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.floats(1, 100))
def test_an_animation_keeps_its_speed(count, fps):
    times = durations(count, fps)
    assert len(times) == count and all(time >= 10 and time % 10 == 0 for time in times)
    assert abs(sum(times) - 1000 * count / fps) <= 10


def test_films_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"x\.avi: films end in \.mp4, \.gif, \.webp"):
        write_film(tmp_path / "x.avi", FRAMES, fps=8)
    with pytest.raises(UserError, match="0 frames per second"):
        write_film(tmp_path / "x.gif", FRAMES, fps=0)
    with pytest.raises(UserError, match="at least one frame"):
        write_film(tmp_path / "x.gif", [], fps=8)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"needs the package av: pip install 'fastgan_jax\[video\]'"):
        write_film(tmp_path / "x.mp4", FRAMES, fps=8)
    assert not list(tmp_path.iterdir())


def test_interpolate_shows_its_stations_and_comes_back(smoke_run, tmp_path, capsys):
    out = tmp_path / "frames"
    assert run("interpolate", "--run", smoke_run, "--seeds", "1,2", "--frames", 3, "--out", out) == 0
    assert "6 frames of iteration 4" in capsys.readouterr().out
    sampler = fastgan_jax.load(str(smoke_run))
    for frame, seed in ((0, 1), (3, 2)):
        expected = sampler.generate(sampler.latents(1, seed), noise_seed=0)[0]
        np.testing.assert_array_equal(pixels(out / f"frame_00000{frame}.png"), expected)
    assert len(list(out.iterdir())) == 6


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
        ("progress", ["--out", "x.gif", "--num", "0"], "--num 0"),
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


def test_a_caption_stands_below_the_picture():
    for channels in (1, 3, 4):
        image = np.full((40, 200, channels), 7, np.uint8)
        with_text = captioned(image, "iteration 10")
        np.testing.assert_array_equal(with_text[:40], image)
        below = with_text[40:]
        assert below.shape[1:] == (200, channels) and below.min() < 50 and below.max() == 255


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


def test_files_without_latents_are_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"x")
    np.savez(tmp_path / "y.npz", w=np.zeros(3))
    for name in ("x.npz", "y.npz"):
        with pytest.raises(UserError, match=f"{name} holds no latents z"):
            read_latents(tmp_path / name)
    np.savez(tmp_path / "z.npz", z=np.zeros(3))
    with pytest.raises(UserError, match=r"z has shape \[3\], not \[N, nz\]"):
        read_latents(tmp_path / "z.npz")


def test_existing_files_are_replaced_only_on_request(tmp_path):
    (tmp_path / "x").write_text("x")
    check_outputs([tmp_path / "x"], overwrite=True)
    with pytest.raises(UserError, match="x is there already: choose another --out, or add --overwrite"):
        check_outputs([tmp_path / "new", tmp_path / "x"], overwrite=False)


def test_an_interrupted_tool_ends_with_130(capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    assert run_tool(lambda argv: None, interrupted) == 130
    assert capsys.readouterr().err == "stopped\n"
