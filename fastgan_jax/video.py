"""Pictures one after the other as mp4, gif, animated webp, or a folder of PNGs."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.writers import save_png

FILM_SUFFIXES = (".mp4", ".gif", ".webp")
MP4_QUALITY = "18"  # constant rate factor of x264, from 0 (lossless) to 51; 18 looks lossless


def write_film(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Writes frames, uint8 [H, W, C] of one size (C = 1, 3 or 4), as they come.

    gif and webp repeat for ever. Transparency is kept by webp and PNG and laid on white for the others.

    Args:
        path: its suffix says the format, one of FILM_SUFFIXES; without a suffix, a folder of numbered PNGs.
        frames: the frames; those of an mp4 and of a folder are not held in memory.
        fps: frames per second, above 0 and at most 100.

    Returns:
        The number of frames.

    Raises:
        UserError: for another suffix or speed, if there are no frames, or if a package is missing.
    """
    path = Path(path)
    check_film(path, fps)
    if not path.suffix:
        return _write_folder(path, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    write: Callable[[Path, Iterator[np.ndarray], float], None] = (
        _write_mp4 if path.suffix == ".mp4" else _write_animation
    )
    counted = _Counted(frames)
    temporary = path.with_name(f".part-{path.name}")  # the suffix says the format
    try:
        write(temporary, iter(counted), fps)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return counted.count


def check_film(path: str | Path, fps: float) -> None:
    """Checks what `write_film` would refuse, before frames are made.

    Raises:
        UserError: for another suffix or speed.
    """
    suffix = Path(path).suffix
    if suffix and suffix not in FILM_SUFFIXES:
        raise UserError(f"{path}: films end in {', '.join(FILM_SUFFIXES)}, or have no suffix for a folder of PNGs")
    if not 0 < fps <= 100:
        raise UserError(f"{fps:g} frames per second: give a number above 0, at most 100")


class _Counted:
    def __init__(self, frames: Iterable[np.ndarray]):
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._frames:
            self.count += 1
            yield frame
        if not self.count:
            raise UserError("a film needs at least one frame")


def _write_folder(folder: Path, frames: Iterable[np.ndarray]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    counted = _Counted(frames)
    for index, frame in enumerate(counted):
        save_png(folder / f"frame_{index:06d}.png", frame)
    return counted.count


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    try:
        import av
    except ModuleNotFoundError:
        raise UserError(
            "writing .mp4 needs the package av: pip install 'fastgan_jax[video]', or write .gif or .webp"
        ) from None
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt, stream.options = "yuv420p", {"crf": MP4_QUALITY}
        for index, frame in enumerate(frames):
            pixels = _even(_opaque(frame))  # the colour format takes no odd sides
            if not index:
                stream.height, stream.width = pixels.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _even(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_animation(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    from PIL import Image

    is_gif = path.suffix == ".gif"
    images = [Image.fromarray(_opaque(frame) if is_gif else _colour(frame)) for frame in frames]
    if is_gif:
        images = _with_one_palette(images)
    first, *others = images
    options = {"optimize": False, "disposal": 1} if is_gif else {"quality": 90, "method": 4}
    first.save(path, save_all=True, append_images=others, duration=durations(len(images), fps), loop=0, **options)


def durations(count: int, fps: float) -> list[int]:
    """How long each frame of an animation is shown, in milliseconds: multiples of 10, as gif knows no others.

    They differ where 1 / fps is no such multiple, so that the whole film keeps its speed.
    """
    times = [round(index * 100 / fps) for index in range(count + 1)]
    return [10 * max(1, end - start) for start, end in zip(times, times[1:], strict=False)]


def _with_one_palette(images: list) -> list:
    """Pictures with the 256 colours that suit a sample of them best, so that colours do not flicker."""
    from PIL import Image

    some = images[:: max(1, len(images) // 16)]
    width, height = some[0].size
    together = Image.new("RGB", (width, height * len(some)))
    for index, image in enumerate(some):
        together.paste(image, (0, index * height))
    palette = together.quantize(256, method=Image.Quantize.MEDIANCUT)
    return [image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for image in images]


def _opaque(frame: np.ndarray) -> np.ndarray:
    """RGB, transparency laid on white."""
    frame = _colour(frame)
    if frame.shape[-1] == 3:
        return frame
    share = frame[..., 3:].astype(np.float32) / 255
    return np.uint8(np.round(frame[..., :3] * share + 255 * (1 - share)))


def _colour(frame: np.ndarray) -> np.ndarray:
    """RGB of grey; RGB and RGBA as they are."""
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame
