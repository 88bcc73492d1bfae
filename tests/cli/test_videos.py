"""fastgan interpolate and fastgan progress, and the commands on other models than usual."""

import shutil
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from tool_modules import pixels, run, use_model, video_frames

import fastgan_jax
from fastgan_jax.data import memory
from fastgan_jax.inference import restore
from fastgan_jax.inference.interpolation import interpolate_keyframes


def test_interpolate_shows_its_keyframes_and_comes_back(smoke_run, tmp_path, capsys):
    out = tmp_path / "frames"
    assert run("interpolate", "--run", smoke_run, "--seeds", "1,2", "--frames", 5, "--out", out) == 0
    assert "10 frames of iteration 4" in capsys.readouterr().out
    sampler = fastgan_jax.load(str(smoke_run))
    keyframes = np.concatenate([sampler.latents(1, seed) for seed in (1, 2)])
    expected = sampler.generate(interpolate_keyframes(keyframes, 5, closed=True), noise_seed=0)
    np.testing.assert_array_equal(video_frames(out, 10), expected)
    np.testing.assert_array_equal(expected[[0, 5]], sampler.generate(keyframes, noise_seed=0))
    assert run("interpolate", "--run", smoke_run, "--seeds", "1,2", "--frames", 5, "--out", out) == 2


def test_a_shorter_video_in_the_same_folder_replaces_the_whole_video(smoke_run, tmp_path):
    out = tmp_path / "frames"
    for frames in (3, 2):
        options = ["--seeds", "1,2", "--frames", frames, "--out", out, "--overwrite"]
        assert run("interpolate", "--run", smoke_run, *options) == 0
        video_frames(out, 2 * frames)


def test_images_of_saved_latents_have_the_noise_that_they_were_found_with(tmp_path, monkeypatch, capsys):
    sampler = use_model(monkeypatch, noise_weight=0.5)
    z, mine, other = sampler.latents(2, 5), tmp_path / "mine.npz", tmp_path / "other.npz"
    np.savez(mine, z=z, noise_seed=7)
    np.savez(other, z=z, noise_seed=8)
    own = sampler.generate(z, noise_seed=7)
    assert not np.array_equal(own, sampler.generate(z, noise_seed=0)), "noise must show for this test to mean anything"

    assert run("interpolate", "--run", "any", "--latents", mine, "--frames", 1, "--out", tmp_path / "walk") == 0
    np.testing.assert_array_equal(video_frames(tmp_path / "walk", 2), own)
    options = ["--latents", mine, "--frames", 1, "--noise-seed", 0, "--out", tmp_path / "walk", "--overwrite"]
    assert run("interpolate", "--run", "any", *options) == 0
    np.testing.assert_array_equal(video_frames(tmp_path / "walk", 2), sampler.generate(z, noise_seed=0))

    mix = ["--run", "any", "--content-latents", mine, "--out", tmp_path / "mix.png"]
    assert run("style-mix", *mix, "--style", "1") == 0
    table = pixels(tmp_path / "mix.png")
    np.testing.assert_array_equal(table[66:130, :64], own[0])
    np.testing.assert_array_equal(table[:64, 66:], sampler.generate(sampler.latents(1, 1), noise_seed=7)[0])
    assert run("style-mix", *mix, "--overwrite", "--style-latents", other) == 2
    assert "the two files of latents have the noise seeds [7, 8]" in capsys.readouterr().err


def test_interpolate_shows_several_latents_of_a_file_side_by_side(smoke_run, tmp_path):
    z = fastgan_jax.load(str(smoke_run)).latents(4, 5)
    np.savez(tmp_path / "z.npz", z=z)
    options = ["--latents", tmp_path / "z.npz", "--grid", "1x2", "--frames", 2, "--open", "--linear"]
    assert run("interpolate", "--run", smoke_run, "--out", tmp_path / "x.gif", *options) == 0
    with Image.open(tmp_path / "x.gif") as video:
        assert video.size == (130, 64) and video.n_frames == 3


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("interpolate", ["--out", "x.avi"], "a video file ends in"),
        ("interpolate", ["--out", "x.gif", "--seeds", "1"], "1 keyframes for 1 interpolation(s)"),
        ("interpolate", ["--out", "x.gif", "--grid", "2"], "--grid 2: must be rows and columns"),
        ("interpolate", ["--out", "x.gif", "--frames", "0"], "--frames 0"),
        ("interpolate", ["--out", "x.gif", "--latents", "no.npz"], "no.npz: no such file"),
        ("interpolate", ["--out", "x.gif", "--label", "1"], "unconditional"),
        ("interpolate", ["--out", "x.gif", "--noise-seed", "-1"], "--noise-seed -1: must be a whole number from 0"),
        ("progress", ["--out", "x.gif", "--num", "0"], "--num 0"),
        ("progress", ["--out", "x.gif", "--columns", "0"], "--columns 0"),
        ("progress", ["--out", "x.gif", "--seed", "-1"], "--seed -1"),
        ("progress", ["--out", "x.gif", "--label", "0"], "--label 0: this model is unconditional"),
        ("progress", ["--out", "x.gif", "--run", "nothing"], "nothing holds no checkpoint"),
        ("progress", ["--out", "there.gif"], "there.gif exists already"),
        ("style-mix", ["--out", "x.jpg"], "--out x.jpg: must be a .png"),
        (
            "style-mix",
            ["--out", "x.png", "--resolutions", "32"],
            "style resolution 32: must be one of 64",
        ),
        ("style-mix", ["--out", "x.png", "--resolutions", "a"], "--resolutions a: must be whole numbers"),
        ("style-mix", ["--out", "x.png", "--content", "x"], "--content x: must be numbers"),
    ],
)
def test_videos_and_tables_name_bad_input(smoke_run, tmp_path, monkeypatch, capsys, tool, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.gif").write_bytes(b"")
    assert run(tool, "--run", smoke_run, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.gif"]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["sample", "--out", "x.png"], "write a folder or a .zip, or fewer"),
        (["interpolate", "--out", "x.gif"], "write an .mp4 or a folder, or fewer frames"),
        (["style-mix", "--out", "x.png"], "give fewer of --content or --style"),
        (["progress", "--out", "x.gif"], "give a smaller --num, or write an .mp4 or a folder"),
        (["progress", "--out", "frames"], "give a smaller --num"),
        (["nearest", "--out", "x.png"], "give a smaller --num or --neighbors"),
        (["compare", "--out", "x.png"], "give smaller --samples, or fewer runs"),
    ],
)
def test_images_that_memory_has_no_room_for_are_refused_before_they_are_made(
    smoke_run, tmp_path, monkeypatch, capsys, words, cure
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 100_000)
    monkeypatch.setattr(fastgan_jax.Sampler, "generate", lambda *_, **__: pytest.fail("an image is made"))
    command, *options = words
    assert run(command, *(() if command == "compare" else ("--run",)), smoke_run, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this needs 0.0 GB of main memory") and error.endswith(f": {cure}\n")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("command", "option"), [("progress", "--num"), ("nearest", "--num"), ("compare", "--samples")])
def test_a_slip_of_the_keyboard_is_no_number_of_images(smoke_run, tmp_path, capsys, command, option):
    words = [*(() if command == "compare" else ("--run",)), smoke_run, "--out", tmp_path / "x.png", option, 1_000_001]
    assert run(command, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} 1000001: must be a whole number, at least 1 and at most 1000000")


def test_progress_shows_every_kept_checkpoint(smoke_run, tmp_path, monkeypatch, capsys):
    assert run("progress", "--run", smoke_run, "--num", 2, "--out", tmp_path / "frames", "--no-caption") == 0
    assert "iterations 0, 2, 4" in capsys.readouterr().out
    expected = fastgan_jax.load(str(smoke_run), 2).sample(2)
    frame = pixels(tmp_path / "frames" / "frame_000001.png")
    np.testing.assert_array_equal(frame[:64, :64], expected[0])
    np.testing.assert_array_equal(frame[:64, 66:], expected[1])
    one = ["--run", smoke_run / "checkpoints" / "2", "--num", 2, "--out", tmp_path / "same", "--no-caption"]
    assert run("progress", *one) == 0
    np.testing.assert_array_equal(video_frames(tmp_path / "same", 3), video_frames(tmp_path / "frames", 3))

    damaged = tmp_path / "damaged"
    shutil.copytree(smoke_run / "checkpoints", damaged)
    shutil.rmtree(damaged / "2" / "sampler" / "ocdbt.process_0")
    assert run("progress", "--run", damaged, "--num", 2, "--out", tmp_path / "two", "--no-caption") == 0
    assert "iterations 0, 4" in capsys.readouterr().out
    expected_frames = video_frames(tmp_path / "frames", 3)
    np.testing.assert_array_equal(video_frames(tmp_path / "two", 2), [expected_frames[0], expected_frames[2]])

    def load_with_seed(path: str, step: int, load: Callable = fastgan_jax.load) -> fastgan_jax.Sampler:
        sampler = load(path, step)
        sampler.config.train.seed = 7
        return sampler

    expected = fastgan_jax.load(str(smoke_run), 2).sample(1, 7)
    monkeypatch.setattr(restore, "load", load_with_seed)
    assert run("progress", "--run", smoke_run, "--num", 1, "--out", tmp_path / "seven", "--no-caption") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "seven" / "frame_000001.png"), expected[0])


def test_every_command_serves_a_conditional_model_with_transparency(smoke_run, tmp_path, monkeypatch, capsys):
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
    for tool, options in (("interpolate", walk_options), ("style-mix", mix_options)):
        assert run(tool, *options) == 2
        assert "this model is conditional; give --label from 0 to 2" in capsys.readouterr().err
        assert run(tool, *options, "--label", 2) == 0
    expected = sampler.generate(interpolate_keyframes(z, 5, closed=True), labels=[2] * 10, noise_seed=0)
    np.testing.assert_array_equal(video_frames(tmp_path / "walk", 10), expected)
    np.testing.assert_array_equal(pixels(tmp_path / "mix.png")[66:130, 66:130], of_class_2[0])

    progress = ["--run", smoke_run, "--num", 1, "--seed", 1, "--label", 2, "--out", tmp_path / "film.webp"]
    assert run("progress", *progress) == 0
    assert run("progress", *progress[:-1], tmp_path / "films", "--no-caption") == 0
    np.testing.assert_array_equal(video_frames(tmp_path / "films", 3)[0], of_class_2[0])
