"""Images one after the other as mp4, gif, animated webp, or a folder of PNGs."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import check_outputs
from fastgan_jax.utils.grids import save_png

MOST_FPS = {".mp4": 100, ".gif": 50, ".webp": 100}  # what is shown for under 20 ms in a gif, browsers show for 100
MP4_QUALITY = "18"  # constant rate factor of x264, from 0 (lossless) to 51; 18 looks lossless
BT709 = 1  # code of the color matrix, primaries and transfer curve of high-definition video (ITU-T H.273)
PALETTE_FRAMES, PALETTE_PIXELS = 16, 2**16  # about as many decide on the colors of a gif
LIMITED_RANGE = 1  # code of luma from 16 to 235


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames, uint8 [H, W, C] of one size (C = 1, 3 or 4), as they come.

    gif and webp repeat for ever. Transparency is kept by webp and PNG and laid on white for the others. mp4 is H.264
    with 4:2:0 color of the BT.709 kind; odd sides get a row or column more.

    Args:
        path: its suffix says the format, one of MOST_FPS; without a suffix, a folder of numbered PNGs, where frames of
            an earlier film are replaced.
        frames: the frames; those of an mp4 and of a folder are not held in memory.
        fps: frames per second, above 0 and at most MOST_FPS.

    Returns:
        The number of frames.

    Raises:
        UserError: for another suffix or speed, if there are no frames, or if a package is missing.
    """
    path = Path(path)
    _check_format(path, fps)
    counted = _Counted(frames)
    if not path.suffix:
        _write_folder(path, counted)
        return counted.count
    path.parent.mkdir(parents=True, exist_ok=True)
    write: Callable[[Path, Iterator[np.ndarray], float], None] = (
        _write_mp4 if path.suffix.lower() == ".mp4" else _write_animation
    )
    temporary = path.with_name(f".part-{path.name}")  # the suffix says the format
    try:
        write(temporary, iter(counted), fps)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return counted.count


def check_video(path: str | Path, fps: float, overwrite: bool) -> None:
    """Checks what `write_video` would refuse or replace, before frames are made.

    Raises:
        UserError: for another suffix or speed, if the package for mp4 is missing, or as `tool_support.check_outputs`.
    """
    path = Path(path)
    _check_format(path, fps)
    if path.suffix.lower() == ".mp4":
        _import_av()
    check_outputs([path] if path.suffix else [*_frames_in(path)[:1], _frame(path, 0)], overwrite)


def durations(count: int, fps: float) -> list[int]:
    """How long each frame of an animation is shown, in milliseconds: multiples of 10, as gif knows no others.

    They differ where 1 / fps is no such multiple, so that the whole film keeps its speed.
    """
    times = [round(index * 100 / fps) for index in range(count + 1)]
    return [10 * max(1, end - start) for start, end in zip(times, times[1:], strict=False)]


class _Counted:
    def __init__(self, frames: Iterable[np.ndarray]):
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._frames:
            self.count += 1
            yield frame
        if not self.count:
            raise UserError("a film needs at least one frame")


def _check_format(path: Path, fps: float) -> None:
    suffix = path.suffix.lower()
    if suffix and suffix not in MOST_FPS:
        raise UserError(f"{path}: films end in {', '.join(MOST_FPS)}, or have no suffix for a folder of PNGs")
    most = MOST_FPS.get(suffix, 100)
    if not 0 < fps <= most:
        raise UserError(f"{fps:g} frames per second: give a number above 0, at most {most} for {suffix or 'PNGs'}")


def _frame(folder: Path, index: int) -> Path:
    return folder / f"frame_{index:06d}.png"


def _frames_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("frame_" + "[0-9]" * 6 + ".png"))


def _write_folder(folder: Path, frames: "_Counted") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        save_png(_frame(folder, index), frame)
    for path in _frames_in(folder):
        if path.name >= _frame(folder, frames.count).name:  # of an earlier, longer film
            path.unlink()


def _import_av() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError:
        raise UserError(
            "writing .mp4 needs the package av: pip install 'fastgan_jax[video]', or write .gif or .webp"
        ) from None
    return av


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    av = _import_av()
    # The index at the front lets browsers start before they have the whole file.
    with av.open(str(path), "w", format="mp4", container_options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": MP4_QUALITY}
        context = stream.codec_context
        # Said and not left to the player, which guesses by size, or else colors shift in large films.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        for index, frame in enumerate(frames):
            pixels = _even(_opaque(frame))  # the color format takes no odd sides
            if not index:
                stream.height, stream.width = pixels.shape[:2]
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(image.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())


def _even(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_animation(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    is_gif = path.suffix.lower() == ".gif"
    images = [Image.fromarray(_opaque(frame) if is_gif else _color(frame)) for frame in frames]
    with announced("encoding the film"):
        if is_gif:
            images = _with_one_palette(images)
        first, *others = images
        options = {"optimize": False, "disposal": 1} if is_gif else {"quality": 90, "method": 4}
        first.save(path, save_all=True, append_images=others, duration=durations(len(images), fps), loop=0, **options)


def _with_one_palette(images: list) -> list:
    """Images with the 256 colors that suit a sample of all best, so that colors do not flicker."""
    from PIL import Image

    some = images[:: max(1, len(images) // PALETTE_FRAMES)]
    shrink = max(1.0, math.sqrt(math.prod(some[0].size) * len(some) / PALETTE_PIXELS))
    width, height = (max(1, round(side / shrink)) for side in some[0].size)
    together = Image.new("RGB", (width, height * len(some)))
    for index, image in enumerate(some):
        together.paste(image.resize((width, height), Image.Resampling.NEAREST), (0, index * height))
    # Rare colors get a place first and then all are refined; without this, dithering them shows as specks.
    palette = together.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=5)
    return [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]


def _opaque(frame: np.ndarray) -> np.ndarray:
    """RGB, transparency laid on white."""
    frame = _color(frame)
    if frame.shape[-1] == 3:
        return frame
    share = frame[..., 3:].astype(np.float32) / 255
    return np.uint8(np.round(frame[..., :3] * share + 255 * (1 - share)))


def _color(frame: np.ndarray) -> np.ndarray:
    """RGB of gray; RGB and RGBA as they are."""
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
