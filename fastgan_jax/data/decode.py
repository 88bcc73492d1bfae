"""One image file to uint8 [side, side, channels]: any mode, any aspect, one antialiased resize."""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastgan_jax.data.kinds import REFUSED, ending
from fastgan_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

DECODER_VERSION = 2  # part of the cache's key: raise it when the same file would decode to other pixels
FITS = ("squash", "crop", "pad")
CHANNELS = (1, 3, 4)
EXIF_ORIENTATION = 0x0112
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True)
class Format:
    """The format that images are decoded to."""

    resolution: int  # side in pixels
    channels: int  # 1 gray | 3 RGB | 4 RGB and alpha
    fit: str  # squash | crop | pad
    background: str  # a CSS color name or #rrggbb, under transparency and around padding

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            UserError: if one is unknown.
        """
        if self.fit not in FITS:
            raise UserError(f"data.fit={self.fit!r}: must be one of {', '.join(FITS)}")
        if self.channels not in CHANNELS:
            raise UserError(f"model.channels={self.channels}: must be one of {', '.join(map(str, CHANNELS))}")
        _ = self.background_rgb

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background's red, green and blue."""
        from PIL import ImageColor

        try:
            return ImageColor.getrgb(self.background)[:3]
        except ValueError:
            raise UserError(
                f"data.background={self.background!r} is not a color: give a CSS name such as white, or #rrggbb"
            ) from None


@dataclass(frozen=True)
class Decoded:
    """A decoded image and what had to be done to it."""

    pixels: np.ndarray  # uint8 [side, side, channels]
    mode: str  # of the file: RGB, P, L, CMYK, ...
    size: tuple[int, int]  # width and height of the file, upright


def decode(data: bytes, target: Format) -> Decoded:
    """Decodes the bytes of an image file (of an animation, its first frame).

    For 1 and 3 channels, transparency is composited on the background first. For 4 it is kept; padding is transparent,
    and wholly transparent pixels get the background's color, since the color that a file has there is arbitrary.

    Raises:
        OSError, ValueError, SyntaxError: if the bytes are not a complete image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as file:
        file.load()
        mode, upright = file.mode, _upright(file)
        size, image = upright.size, _to_rgb_or_rgba(upright)
    if target.channels == 4:
        image = image.convert("RGBA")
    elif image.mode == "RGBA":
        opaque = Image.new("RGBA", image.size, (*target.background_rgb, 255))
        opaque.alpha_composite(image)
        image = opaque.convert("RGB")
    image = _resize(image, target)
    if target.channels == 1:
        image = image.convert("L")
    pixels = np.array(image).reshape(target.resolution, target.resolution, target.channels)
    if target.channels == 4:
        pixels[pixels[..., 3] == 0, :3] = target.background_rgb
    return Decoded(pixels, mode, size)


def decode_or_reason(
    read: Callable[[], bytes], target: Format, thread: threading.local, name: str
) -> tuple[Decoded | str, list[str]]:
    """The image that `read` returns the file `name` of, or why there is none; and the warnings `thread` collects."""
    from PIL import UnidentifiedImageError

    data, thread.messages = b"", []
    if refusal := REFUSED.get(ending(name)):
        return refusal, []
    try:
        data = read()
        return decode(data, target), thread.messages
    except UnidentifiedImageError:
        return f"no known image format, {len(data)} bytes", []
    except Exception as error:  # noqa: BLE001 (decoders raise all kinds for damaged files)
        return f"{type(error).__name__}: {error}", []


@contextlib.contextmanager
def collected_warnings() -> Iterator[threading.local]:
    """Collects Pillow's warnings (of a damaged EXIF block, a huge image) in the `messages` of each decoding thread."""
    thread = threading.local()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        show = warnings.showwarning

        def collect(message: Warning | str, *arguments: object, **options: object) -> None:
            if hasattr(thread, "messages"):
                thread.messages.append(str(message).strip())
            else:
                show(message, *arguments, **options)

        warnings.showwarning = collect
        yield thread


def _upright(file: "Image.Image") -> "Image.Image":
    """The image turned as its EXIF block says, or as it is if the block cannot be read."""
    from PIL import Image

    try:
        orientation = file.getexif().get(EXIF_ORIENTATION)
    except Exception as error:  # noqa: BLE001 (the parser raises all kinds for damaged blocks)
        warnings.warn(f"EXIF block not readable, image taken as upright ({error})", stacklevel=2)
        return file
    turn = dict(enumerate(TURNS, start=2)).get(orientation)
    return file if turn is None else file.transpose(Image.Transpose[turn])


def _to_rgb_or_rgba(image: "Image.Image") -> "Image.Image":
    """The image as RGBA if anything in it is transparent, else as RGB."""
    from PIL import Image

    if image.mode in SIXTEEN_BIT_MODES:
        # Pillow clips these when it converts; an image of 16 bits is scaled to 8 instead.
        values = np.asarray(image).astype(np.float64)
        transparent = image.info.get("transparency")
        image = Image.fromarray(np.uint8(np.clip(values / 257 + 0.5, 0, 255)))
        if transparent is not None:
            image.putalpha(Image.fromarray(np.uint8(255 * (values != transparent))))
    elif image.mode == "F":
        raise ValueError("floating-point images have no defined range")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _resize(image: "Image.Image", target: Format) -> "Image.Image":
    """Fits RGB or RGBA [any size] into [side, side] by the chosen rule, with a Lanczos filter."""
    from PIL import Image

    side, width, height = target.resolution, image.width, image.height
    box, size = (0, 0, width, height), (side, side)
    if target.fit == "crop":
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        box = (left, top, left + short, top + short)
    elif target.fit == "pad":
        scale = side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # "RGBa" is premultiplied alpha: otherwise the color of invisible pixels bleeds into the edges.
    work = image.convert("RGBa") if image.mode == "RGBA" else image
    resized = work.resize(size, Image.Resampling.LANCZOS, box=box).convert(image.mode)
    if size == (side, side):
        return resized
    padding = target.background_rgb if image.mode == "RGB" else (*target.background_rgb, 0)
    canvas = Image.new(image.mode, (side, side), padding)
    canvas.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas
