"""One image file to uint8 [side, side, channels]: any mode, any aspect, one antialiased resize."""

import contextlib
import errno
import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastgan_jax.data.color import Note, profile_of, to_srgb
from fastgan_jax.data.depth import (
    BITS,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    SIGNED,
    UNSIGNED,
    WHITE_IS_ZERO,
    is_deep,
    usual_depth,
)
from fastgan_jax.data.kinds import REFUSED, NoRoom, Refused, ending, heif_support, is_heif
from fastgan_jax.data.memory import (
    BYTES_PER_COEFFICIENT,
    BYTES_PER_DEEP_PIXEL,
    BYTES_PER_PIXEL,
    GATE,
    without_pixel_limit,
)
from fastgan_jax.data.metadata import without_metadata
from fastgan_jax.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

DECODER_VERSION = 5  # part of the cache's key: raise it when the same file would decode to other pixels
FITS = ("squash", "crop", "pad")
CHANNELS = (1, 3, 4)
EXIF_ORIENTATION = 0x0112
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
LYING = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")  # those of them that exchange width and height
SEVERAL = ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF")  # formats that may hold several images of equal standing
# What the system says of files that are gone or locked, or have impossible names; anything else may pass.
LASTING = ("ENOENT", "EACCES", "EPERM", "ENAMETOOLONG", "ELOOP", "EISDIR", "ENOTDIR", "EINVAL")
DRAFT = 2  # times the target's size, at least, that JPEGs are decoded at


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
    def nbytes(self) -> int:
        """Bytes of an image."""
        return self.resolution**2 * self.channels

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


def decoders() -> str:
    """The optional decoders that are installed here: part of the cache's key, as files are skipped without them."""
    from PIL import features

    names = [name for name in ("avif", "jpg_2000", "libtiff", "littlecms2", "webp") if features.check(name)]
    return ",".join([*names, "heif"] if heif_support() else names)


@dataclass(frozen=True)
class Decoded:
    """A decoded image and what had to be done to it."""

    pixels: np.ndarray  # uint8 [side, side, channels]
    mode: str  # of the file: RGB, P, L, CMYK, ...
    size: tuple[int, int]  # width and height of the file, upright
    notes: list[str]  # what was odd about it


def decode(data: bytes, target: Format) -> Decoded:
    """Decodes the bytes of an image file (of several images, the first) to 8 bits per channel in sRGB.

    For 1 and 3 channels, transparency is composited on the background. For 4 it is kept; padding is transparent, and
    wholly transparent pixels get the background's color, since the color that a file has there is arbitrary.
    Metadata that cannot be read do not cost the image. What is odd about it is noted.

    Raises:
        OSError, ValueError, SyntaxError: if the bytes are not a complete image whose values have a defined meaning.
    """
    from PIL import UnidentifiedImageError

    try:
        return _decode(data, target)
    except MemoryError:
        raise
    except Exception as error:
        for bare, profile in without_metadata(data):
            with contextlib.suppress(Exception):
                decoded = _decode(bare, target, profile)
                reason = "damaged" if isinstance(error, UnidentifiedImageError) else error
                decoded.notes.append(f"text, EXIF block or color profile that cannot be read are left aside ({reason})")
                return decoded
        raise


def _decode(data: bytes, target: Format, profile: bytes | None = None) -> Decoded:
    """`decode`, with a color profile in place of the file's own."""
    from PIL import Image

    heif_support()
    notes: list[str] = []
    with without_pixel_limit(), Image.open(io.BytesIO(data)) as file:
        mode, (width, height) = file.mode, file.size
        needed = BYTES_PER_COEFFICIENT * width * height if "progressive" in file.info else 0
        extent = _draft(file, target)
        needed += (BYTES_PER_DEEP_PIXEL if is_deep(file, data) else BYTES_PER_PIXEL) * file.width * file.height
        with GATE.hold(width, height, needed):
            file.load()
            turn = _turn(file, notes.append)
            profile = profile or profile_of(file, data, notes.append)
            image, alpha = usual_depth(file, data, notes.append)
            image = to_srgb(image, profile, notes.append)
            if alpha is not None:
                image.putalpha(alpha)
            image = _resize(image, extent or image.size, target)
            _note_further_images(file, notes.append)  # last, since looking for them reads the tags again
    if turn is not None:
        image = image.transpose(turn)
        width, height = (height, width) if turn.name in LYING else (width, height)
    return Decoded(_pixels(image, target), mode, (width, height), notes)


class Passing(str):
    """A reason why there is no image that says nothing of the file, and may not hold another time."""


def decode_or_reason(
    read: Callable[[], bytes], target: Format, thread: threading.local, name: str
) -> tuple[Decoded | str, list[str]]:
    """The image that `read` returns the file `name` of, or why there is none; and what is odd about it.

    The reason is `Passing` for want of memory, and where the storage fails. `thread`: of `collected_warnings`.
    """
    from PIL import UnidentifiedImageError

    data, thread.messages = b"", []
    if refusal := REFUSED.get(ending(name)):
        return refusal, []
    try:
        data = read()
        decoded = decode(data, target)
        return decoded, thread.messages + decoded.notes
    except UnidentifiedImageError:
        return unknown_format(data), []
    except Refused as error:
        return Passing(error) if isinstance(error, NoRoom) else str(error), []
    except Exception as error:  # noqa: BLE001 (decoders raise all kinds for damaged files)
        reason = f"{type(error).__name__}: {error}"
        number = getattr(error, "errno", None)  # Pillow's own errors have none
        passes = isinstance(error, MemoryError) or (number and errno.errorcode.get(number) not in LASTING)
        return Passing(reason) if passes else reason, []


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


def _draft(file: "Image.Image", target: Format) -> tuple[float, float] | None:
    """Lets a JPEG decode at 1/2, 1/4 or 1/8 of its size where that is at least DRAFT times the target's.

    Returns:
        The width and height of the image in pixels of the draft, the last of which may be partly outside; None: as is.
    """
    if file.format not in ("JPEG", "MPO"):
        return None
    scale = target.resolution / (max(file.size) if target.fit == "pad" else min(file.size))
    wanted = [max(1, round(DRAFT * scale * side)) for side in file.size]
    if target.fit == "squash":
        wanted = [DRAFT * target.resolution] * 2
    draft = file.draft(None, tuple(wanted))
    return None if draft is None else draft[1][2:]


def _turn(file: "Image.Image", note: Note) -> "Image.Transpose | None":
    """How to turn a loaded image upright by its EXIF block; None if it is, or if the block cannot be read."""
    from PIL import Image

    try:
        orientation = file.getexif().get(EXIF_ORIENTATION)
    except Exception as error:  # noqa: BLE001 (the parser raises all kinds for damaged blocks)
        note(f"EXIF block not readable, image taken as upright ({error})")
        return None
    turn = dict(enumerate(TURNS, start=2)).get(orientation)
    return None if turn is None else Image.Transpose[turn]


def _note_further_images(file: "Image.Image", note: Note) -> None:
    """Notes the pages and frames after the first."""
    count = 1
    with contextlib.suppress(Exception):  # later ones may be damaged
        count = getattr(file, "n_frames", 1) if file.format in SEVERAL else 1
    if count > 1:
        note(f"the first of {count} {'pages' if file.format == 'TIFF' else 'frames'} is read")


def _resize(image: "Image.Image", extent: tuple[float, float], target: Format) -> "Image.Image":
    """Fits an image of `extent` (width and height) into the target's side, with a Lanczos filter.

    Gives L, RGB, or RGBa: alpha with colors that it is multiplied into, so that those of invisible pixels do not bleed
    into edges. With data.fit=pad the shorter side stays shorter.
    """
    from PIL import Image

    side, (width, height) = target.resolution, extent
    box, size = (0, 0, width, height), (side, side)
    if target.fit == "crop":
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        box = (left, top, left + short, top + short)
    elif target.fit == "pad":
        scale = side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if image.mode in ("LA", "RGBA"):
        image = (image.convert("RGBA") if image.mode == "LA" else image).convert("RGBa")
    return image.resize(size, Image.Resampling.LANCZOS, box=box)


def _pixels(image: "Image.Image", target: Format) -> np.ndarray:
    """A fitted image as uint8 [side, side, channels]: composited and padded."""
    from PIL import Image

    side, color = target.resolution, target.background_rgb
    if target.channels == 4:
        image = image.convert("RGBA")
    elif image.mode == "RGBa":
        values = np.asarray(image).astype(np.uint16)
        under = np.uint16(color) * (255 - values[..., 3:])
        image = Image.fromarray(np.uint8(np.minimum(values[..., :3] + (under + 127) // 255, 255)))
    if image.size != (side, side):
        padding = ("RGBA", (*color, 0)) if target.channels == 4 else ("RGB", color)
        canvas = Image.new(padding[0], (side, side), padding[1])
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = canvas
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[target.channels])
    pixels = np.array(image).reshape(side, side, target.channels)
    if target.channels == 4:
        pixels[pixels[..., 3] == 0, :3] = color
    return pixels


def unknown_format(data: bytes) -> str:
    """Why Pillow finds no image in the bytes of a file."""
    from PIL import TiffImagePlugin, features

    if is_heif(data):
        needed = "HEIC needs another package: pip install 'fastgan_jax[heif]'"
        return "a damaged HEIC file" if heif_support() else needed
    if data[4:12] in (b"ftypavif", b"ftypavis") and not features.check("avif"):
        return "AVIF needs a newer Pillow: pip install -U pillow"
    with contextlib.suppress(Exception):
        if data[:2] in (b"II", b"MM"):
            tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file = io.BytesIO(data)
            file.seek(tags.next)
            tags.load(file)
            bits, kind = tags[BITS], tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0]
            kinds = {UNSIGNED: "unsigned", SIGNED: "signed", 3: "floating-point"}
            order = ", white at 0" if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else ""
            samples = f"{len(bits)} x {bits[0]} bits per pixel, {kinds.get(kind, 'of another kind')}{order}"
            return f"a TIFF that Pillow does not read ({samples}): export it as PNG"
    return f"no known image format, {len(data)} bytes"
