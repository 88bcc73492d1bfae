"""Videos: frames as mp4, gif, animated webp, or a folder of PNGs."""

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np

from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import check_outputs, remove_former, replacing, user_path
from fastgan_jax.utils.grids import save_png
from fastgan_jax.utils.images import rgb

LEAST_FPS = 0.01  # a gif shows no frame for more than 655 seconds
MOST_FPS = {".mp4": 100, ".gif": 50, ".webp": 100}  # browsers show a gif's frame of under 20 ms for 100
MOST_PIXELS = {".mp4": 16384, ".gif": 65535, ".webp": 16383}  # a side
HELD = (".gif", ".webp")  # in memory with all their frames until the end
SMALLER = "make frames of fewer or smaller images, or give --out without a suffix, for a folder of PNGs"
FRAME = "frame_{:06d}.png"  # in a folder
MP4_QUALITY = "18"  # constant rate factor of x264, from 0 (lossless) to 51; 18 looks lossless
BT709 = 1  # code of the color matrix, primaries and transfer curve of high-definition video (ITU-T H.273)
LIMITED_RANGE = 1  # code of luma from 16 to 235
PALETTE_FRAMES, PALETTE_PIXELS = 16, 2**16  # about as many decide on the colors of a gif


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames, uint8 [H, W, C] of one size (C = 1, 3 or 4), as they come, and returns their number.

    gif and webp repeat endlessly. Transparency is kept by webp and PNG and laid on white for the others. mp4 is H.264
    with 4:2:0 color of the BT.709 kind; odd sides get a row or column more.

    Args:
        path: its suffix, one of MOST_FPS, is the format; without a suffix, a folder of numbered PNGs, where the frames
            of an earlier video are replaced.
        frames: the frames; those of an mp4 and of a folder are not held in memory.
        fps: frames per second, from LEAST_FPS to MOST_FPS.

    Raises:
        UserError: for another suffix or speed, if there are no frames, they are too large for the format, a package is
            missing, or the disk is full.
    """
    path, frames = user_path(path), iter(frames)
    _check_format(path, fps)
    first = next(frames, None)
    if first is None:
        raise UserError("a video needs at least one frame")
    frames, suffix = itertools.chain([first], frames), path.suffix.lower()
    if not suffix:
        return _write_folder(path, frames)
    height, width, _ = first.shape
    if max(height, width) > MOST_PIXELS[suffix]:
        raise UserError(
            f"{path}: frames of {width}x{height} pixels, and {suffix} takes {MOST_PIXELS[suffix]}: {SMALLER}"
        )
    write = _write_mp4 if suffix == ".mp4" else _write_animation
    with replacing(path) as temporary:
        return write(temporary, frames, fps)


def check_video(path: str | Path, fps: float, overwrite: bool) -> None:
    """Checks what `write_video` would refuse or replace, before frames are generated.

    Raises:
        UserError: for another suffix or speed, if the package for mp4 is missing, or see `files.check_outputs`.
    """
    path = user_path(path)
    _check_format(path, fps)
    if path.suffix.lower() == ".mp4":
        _import_av()
    check_outputs([path] if path.suffix else [*_frames_in(path)[:1], path / FRAME.format(0)], overwrite)


def durations(count: int, fps: float) -> list[int]:
    """How long each frame of an animation is shown, in milliseconds: multiples of 10, as gif has no others.

    They differ where 1 / fps is not such a multiple, so that the video as a whole keeps its speed.
    """
    times = [round(index * 100 / fps) for index in range(count + 1)]
    return [10 * max(1, end - start) for start, end in zip(times, times[1:], strict=False)]


def _check_format(path: Path, fps: float) -> None:
    suffix = path.suffix.lower()
    if suffix and suffix not in MOST_FPS:
        raise UserError(f"{path}: a video file ends in {', '.join(MOST_FPS)}, or has no suffix for a folder of PNGs")
    most = MOST_FPS.get(suffix, 100)
    if not LEAST_FPS <= fps <= most:
        raise UserError(f"{fps:g} frames per second: must be from {LEAST_FPS} to {most} for {suffix or 'PNGs'}")


def _frames_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("frame_" + "[0-9]" * 6 + ".png"))


def _write_folder(folder: Path, frames: Iterator[np.ndarray]) -> int:
    count = 0
    for count, frame in enumerate(frames, start=1):
        save_png(folder / FRAME.format(count - 1), frame)
    remove_former(_frames_in(folder), [folder / FRAME.format(index) for index in range(count)])
    return count


def _import_av() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError:
        cure = "pip install 'fastgan_jax[video]', or write .gif or .webp"
        raise UserError(f"writing .mp4 needs the package av: {cure}") from None
    return av


@contextlib.contextmanager
def _explained(errors: type[Exception]) -> Iterator[None]:
    """Turns an encoder's own errors into UserErrors; those of the disk stay."""
    try:
        yield
    except errors as error:
        if isinstance(error, OSError):
            raise
        raise UserError(f"these frames cannot be encoded ({gist(error)}): {SMALLER}") from None


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    av, count = _import_av(), 0
    # The index at the front lets browsers start before they have the whole file.
    form = {"format": "mp4", "container_options": {"movflags": "faststart"}}
    with _explained(av.error.FFmpegError), av.open(str(path), "w", **form) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": MP4_QUALITY}
        context = stream.codec_context
        # Without these, players guess by size, and colors shift in large videos.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        for count, frame in enumerate(frames, start=1):
            height, width, _ = frame.shape  # odd ones are padded, since the color format takes none
            pixels = np.pad(rgb(frame), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if count == 1:
                stream.height, stream.width = pixels.shape[:2]
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(image.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())
    return count


def _write_animation(path: Path, frames: Iterator[np.ndarray], fps: float) -> int:
    from PIL import Image

    is_gif = path.suffix.lower() == ".gif"
    images = [Image.fromarray(frame if frame.shape[-1] == 4 and not is_gif else rgb(frame)) for frame in frames]
    with announced("encoding the video"), _explained(RuntimeError):
        if is_gif:
            images = _with_one_palette(images)
        first, *others = images
        options = {"optimize": False, "disposal": 1} if is_gif else {"quality": 90, "method": 4}
        first.save(path, save_all=True, append_images=others, duration=durations(len(images), fps), loop=0, **options)
    return len(images)


def _with_one_palette(images: list) -> list:
    """Images with the 256 colors that best suit a sample of all of them, so that colors do not flicker."""
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
