"""Videos: frames, speed and colors read back from every format."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastgan_jax.errors import UserError
from fastgan_jax.inference import video
from fastgan_jax.inference.video import check_video, durations, write_video

FRAMES = np.random.RandomState(0).randint(0, 256, (7, 1, 1, 3), np.uint8) * np.ones((1, 20, 31, 1), np.uint8)


def rgb(frame) -> np.ndarray:
    """Colors of a decoded mp4 frame, float [H, W, 3], by the formula of BT.709: older av reads all as 601."""
    assert frame.format.name == "yuv420p"
    planes = frame.to_ndarray().astype(float)
    height, width = frame.height, frame.width
    luma = (planes[:height] - 16) / 219
    blue, red = (
        ((part - 128) / 224).reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1)
        for part in (planes[height : height + height // 4], planes[height + height // 4 :])
    )
    green = luma - (0.2126 * 1.5748 * red + 0.0722 * 1.8556 * blue) / 0.7152
    return 255 * np.stack([luma + 1.5748 * red, green, luma + 1.8556 * blue], axis=-1)


@pytest.mark.parametrize("name", ["video.mp4", "video.MP4", "video.gif", "video.webp", "video.WebP"])
def test_videos_have_their_frames_speed_and_colors(tmp_path, name):
    path = tmp_path / "new" / name
    suffix = path.suffix.lower()
    if suffix == ".mp4":
        av = pytest.importorskip("av", reason="writing and reading mp4 needs av (fastgan_jax[video])")
    assert write_video(path, iter(FRAMES), fps=8) == 7
    if suffix == ".mp4":
        with av.open(str(path)) as video:
            read = [rgb(frame) for frame in video.decode(video=0)]
            stream = video.streams.video[0]
            assert stream.average_rate == 8 and stream.duration * stream.time_base == 7 / 8
            assert stream.codec_context.pix_fmt == "yuv420p"
    else:
        with Image.open(path) as video:
            read, shown = [], 0
            for index in range(video.n_frames):
                video.seek(index)
                read.append(np.asarray(video.convert("RGB")))
                shown += video.info["duration"]
            assert video.format == suffix[1:].upper()
            assert video.info["loop"] == 0 and shown == pytest.approx(7 / 8 * 1000, abs=10)
    assert len(read) == 7 and read[0].shape == ((20, 32, 3) if suffix == ".mp4" else (20, 31, 3))
    for frame, expected in zip(read, FRAMES, strict=True):
        assert np.abs(frame[10, 15].astype(float) - expected[10, 15]).max() < 16
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_an_mp4_says_which_colors_it_has_and_has_them(tmp_path):
    av = pytest.importorskip("av", reason="writing and reading mp4 needs av (fastgan_jax[video])")
    green = np.full((1, 32, 32, 3), (40, 200, 40), np.uint8)
    write_video(tmp_path / "x.mp4", green, fps=5)
    with av.open(str(tmp_path / "x.mp4")) as video:
        context = video.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        (frame,) = video.decode(video=0)
        colors = rgb(frame)
    assert np.abs(colors - green[0]).max() <= 4  # read as BT.601, red and green would be 11 and 27 off


def test_an_mp4_can_be_played_before_it_is_whole(tmp_path):
    pytest.importorskip("av", reason="writing mp4 needs av (fastgan_jax[video])")
    write_video(tmp_path / "x.mp4", FRAMES, fps=8)
    content = (tmp_path / "x.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_a_folder_of_frames_is_exact_and_keeps_transparency(tmp_path):
    frames = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 4), np.uint8)
    assert write_video(tmp_path / "frames", iter(frames), fps=30) == 3
    for index, frame in enumerate(frames):
        with Image.open(tmp_path / "frames" / f"frame_00000{index}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), frame)


def test_a_new_video_in_a_folder_removes_the_frames_of_the_old_one_and_nothing_else(tmp_path):
    write_video(tmp_path, FRAMES, fps=8)
    (tmp_path / "frame_notes.png").write_bytes(b"mine")
    write_video(tmp_path, FRAMES[:2], fps=8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frame_000000.png", "frame_000001.png", "frame_notes.png"]


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_gray_and_transparent_frames_become_videos(tmp_path, channels, suffix):
    frames = np.zeros((2, 16, 16, channels), np.uint8)
    path = tmp_path / f"x{suffix}"
    if suffix == ".mp4":
        av = pytest.importorskip("av", reason="writing and reading mp4 needs av (fastgan_jax[video])")
        write_video(path, frames, fps=5)
        with av.open(str(path)) as video:
            first = rgb(next(video.decode(video=0)))
    else:
        write_video(path, frames, fps=5)
        with Image.open(path) as video:
            first = np.asarray(video.convert("RGB"))
    expected = 0 if channels == 1 else 255  # black, or nothing on white
    assert first.shape == (16, 16, 3) and np.abs(first.astype(float) - expected).max() <= 3


def test_a_gif_shows_rare_colors_without_specks(tmp_path):
    """Soft colors with a small strong area, which median cut alone renders as dots far from it (mean error 38)."""
    random = np.random.RandomState(0)

    def blurred(low: int, high: int, cells: int, side: int) -> np.ndarray:
        colors = random.randint(low, high, (cells, cells, 3), np.uint8)
        return np.array(Image.fromarray(colors).resize((side, side), Image.Resampling.BICUBIC))

    frames = np.stack([blurred(140, 240, 4, 64) for _ in range(8)])
    frames[:, 20:26, 20:26] = [blurred(0, 256, 3, 6) for _ in frames]
    write_video(tmp_path / "x.gif", frames, fps=5)
    with Image.open(tmp_path / "x.gif") as video:
        for index, frame in enumerate(frames):
            video.seek(index)
            error = np.abs(np.asarray(video.convert("RGB")).astype(int) - frame)
            assert error.mean() <= 9 and error[20:26, 20:26].mean() <= 9


def test_webp_keeps_transparency(tmp_path):
    frames = np.full((2, 16, 16, 4), 200, np.uint8)
    frames[0, ..., 3], frames[1, ..., 3] = 0, 255
    write_video(tmp_path / "x.webp", frames, fps=5)
    with Image.open(tmp_path / "x.webp") as video:
        for index, alpha in enumerate((0, 255)):
            video.seek(index)
            assert set(np.asarray(video.convert("RGBA"))[..., 3].ravel()) == {alpha}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.floats(1, 100))
def test_an_animation_keeps_its_speed(count, fps):
    times = durations(count, fps)
    assert len(times) == count and all(time >= 10 and time % 10 == 0 for time in times)
    assert abs(sum(times) - 1000 * count / fps) <= 10


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.floats(1, 50))
def test_no_frame_of_a_gif_is_so_short_that_browsers_slow_it_down(count, fps):
    assert min(durations(count, fps)) >= 20


def test_videos_that_cannot_be_written(tmp_path, monkeypatch):
    for name, fps, message in (
        ("x.avi", 8, r"x\.avi: a video file ends in \.mp4, \.gif, \.webp"),
        ("x.gif", 0, "0 frames per second: must be from 0.01 to 50 for .gif"),
        ("x.gif", 0.001, "0.001 frames per second: must be from 0.01"),
        ("x.gif", 60, "60 frames per second: .* to 50 for .gif"),
        ("x.mp4", float("nan"), "nan frames per second: .* to 100 for .mp4"),
        ("x", 200, "200 frames per second: .* to 100 for PNGs"),
    ):
        with pytest.raises(UserError, match=message):
            write_video(tmp_path / name, FRAMES, fps=fps)
        with pytest.raises(UserError, match=message):
            check_video(tmp_path / name, fps, overwrite=True)
    with pytest.raises(UserError, match="at least one frame"):
        write_video(tmp_path / "x.gif", [], fps=8)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    for attempt in (lambda p: write_video(p, FRAMES, fps=8), lambda p: check_video(p, 8, overwrite=False)):
        with pytest.raises(UserError, match=r"needs the package av: pip install 'fastgan_jax\[video\]'"):
            attempt(tmp_path / "x.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "most"), [(".webp", 16383), (".mp4", 16384), (".gif", 65535)])
def test_frames_that_are_too_large_for_a_format_are_refused(tmp_path, suffix, most):
    if suffix == ".mp4":
        pytest.importorskip("av", reason="writing mp4 needs av (fastgan_jax[video])")
    path = tmp_path / f"video{suffix}"
    refusal = f"frames of {most + 1}x16 pixels, and {suffix} takes {most}: .* a folder of PNGs"
    with pytest.raises(UserError, match=refusal):
        write_video(path, [np.zeros((16, most + 1, 3), np.uint8)], 5)
    assert not list(tmp_path.iterdir())
    assert write_video(path, [np.zeros((16, most, 3), np.uint8)], 5) == 1


def test_what_the_encoder_says_is_one_line(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("ERROR adding frame.\nWebPEncodingError: 5.")

    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(UserError, match=r"these frames cannot be encoded \(ERROR adding frame\.\): make frames of"):
        write_video(tmp_path / "x.webp", [np.zeros((16, 16, 3), np.uint8)], 5)
    pytest.importorskip("av", reason="writing mp4 needs av (fastgan_jax[video])")
    monkeypatch.setitem(video.MOST_PIXELS, ".mp4", 20_000)
    with pytest.raises(UserError, match="these frames cannot be encoded"):
        write_video(tmp_path / "x.mp4", [np.zeros((16, 16_386, 3), np.uint8)], 5)
    assert not list(tmp_path.iterdir())


def frames_that_fail():
    yield np.zeros((16, 16, 3), np.uint8)
    raise RuntimeError("RESOURCE_EXHAUSTED: of the device")


def test_an_error_of_the_device_is_not_the_encoders(tmp_path):
    for suffix in (".webp", ".gif"):
        with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
            write_video(tmp_path / f"x{suffix}", frames_that_fail(), 5)


def test_an_existing_video_is_not_replaced_unasked(tmp_path):
    write_video(tmp_path / "x.gif", FRAMES, fps=8)
    check_video(tmp_path / "x.gif", 8, overwrite=True)
    with pytest.raises(UserError, match=r"x\.gif exists already"):
        check_video(tmp_path / "x.gif", 8, overwrite=False)
    (tmp_path / "frames").mkdir()
    check_video(tmp_path / "frames", 8, overwrite=False)  # an empty folder is not a video
    (tmp_path / "frames" / "frame_000007.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"frame_000007\.png exists already"):
        check_video(tmp_path / "frames", 8, overwrite=False)
