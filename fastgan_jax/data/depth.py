"""Samples of any depth, and transparency of any kind, to 8 bits (or 16, of gray) and alpha."""

import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgan_jax.data.color import Note
from fastgan_jax.data.kinds import Refused

if TYPE_CHECKING:
    from PIL import Image

SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
DARK = 16  # levels of 255: a deep image that stays below is almost black, which is rarely meant
BITS, PHOTOMETRIC, MAX_SAMPLE, SAMPLE_FORMAT, SMAX_SAMPLE = 258, 262, 281, 339, 341  # tags of TIFF
WHITE_IS_ZERO = 0
SUBFILE, REDUCED, DNG_VERSION = 254, 1, 50706  # tags of small previews and of raw files, which are TIFFs too
UNSIGNED, SIGNED = 1, 2  # values of SAMPLE_FORMAT
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def usual_depth(file: "Image.Image", data: bytes, note: Note) -> tuple["Image.Image", "Image.Image | None"]:
    """The loaded image as L, I;16 (of full range), RGB, RGBA, CMYK or LAB; and its alpha (L), if that is apart.

    Raises:
        Refused: if the values have no defined meaning.
    """
    mode, key = file.mode, file.info.get("transparency")
    if _tag(file, DNG_VERSION) is not None or (_tag(file, SUBFILE) or 0) & REDUCED:
        raise Refused("a camera's raw file, or another whose first page is a small preview: export it as PNG")
    if file.format == "FITS" and mode in (*SIXTEEN_BIT_MODES, "I"):
        raise Refused("FITS samples of 16 or 32 bits, whose scale Pillow does not read: export it as PNG or TIFF")
    if mode in (*SIXTEEN_BIT_MODES, "I", "F"):
        values = np.asarray(file)
        return _gray(file, values, note), None if key is None else _alpha(values != key)
    if mode == "L" and _tag(file, SAMPLE_FORMAT) == SIGNED:
        raise Refused("8-bit samples with signs: export it with unsigned ones")
    if mode in ("1", "L"):
        gray, top = file.convert("L") if mode == "1" else file, (1 << (data[24] if file.format == "PNG" else 8)) - 1
        return gray, None if not isinstance(key, int) else _alpha(np.asarray(gray) != (key & top) * 255 // top)
    if mode == "LA":
        return file.getchannel("L"), file.getchannel("A")
    if mode in ("RGB", "RGBA") and _is_sixteen_bit(file, data):
        image, alpha = _sixteen_bit_color(file, data) if mode == "RGB" else (file, None)
        _note_darkness(max(high for _, high in image.getextrema()[:3]), note)
        return image, alpha
    if mode == "RGBA" and file.format == "PSD":
        note("its fourth channel is taken as transparency; if it is a saved selection, export it as PNG without it")
    if mode == "RGBA" and not file.getextrema()[3][1]:
        note("wholly transparent: if that is not meant, export it without transparency")
    if mode in ("RGBA", "CMYK", "LAB") or (mode == "RGB" and key is None):
        return file, None
    return file.convert("RGBA" if file.has_transparency_data else "RGB"), None


def _alpha(opaque: np.ndarray) -> "Image.Image":
    from PIL import Image

    return Image.fromarray(np.uint8(255) * opaque)


def _tag(file: "Image.Image", tag: int) -> Any:
    """The first value of a tag of a TIFF file; None without it, and in other formats."""
    value = getattr(file, "tag_v2", {}).get(tag) if file.format == "TIFF" else None
    return value[0] if isinstance(value, tuple) and value else value


def _gray(file: "Image.Image", values: np.ndarray, note: Note) -> "Image.Image":
    """Samples [H, W] of more than 8 bits as an I;16 image of full range, black at 0."""
    from PIL import Image

    if file.mode == "F":
        top = _top_of_floats(file, values)
    elif file.mode == "I" and file.format == "TIFF":
        if _tag(file, SAMPLE_FORMAT) in (None, UNSIGNED):
            values = values.view(np.uint32)
        elif values.min(initial=0) < 0:
            raise Refused(f"samples below zero, down to {values.min()}: export it with unsigned ones")
        top = _top_of_integers(file, values, note)
    else:
        top = _declared_top(file, values) or 65535
    if values.dtype.itemsize == 2:
        table = np.uint16(np.minimum(np.arange(65536) * (65535 / top) + 0.5, 65535))
        scaled = table[values]
    else:
        scaled = np.uint16(np.clip(values.astype(np.float32) * np.float32(65535 / top) + 0.5, 0, 65535))
    if _tag(file, PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 65535 - scaled
    if values.any():
        _note_darkness(scaled.max() >> 8, note)
    return Image.fromarray(scaled)


def _declared_top(file: "Image.Image", values: np.ndarray) -> int | None:
    """The largest value that samples can have by the file's own tags, such as 4095; None if those say nothing new."""
    bits, largest = _tag(file, BITS), _tag(file, MAX_SAMPLE)
    if bits and bits not in (16, 32):
        return (1 << bits) - 1
    if largest and int(largest) > 0:  # it may be the largest that there is: then the next power of two is meant
        top = (1 << int(largest).bit_length()) - 1
        return top if values.max(initial=0) <= top else None
    return None


def _top_of_integers(file: "Image.Image", values: np.ndarray, note: Note) -> int:
    signed, bits, largest = _tag(file, SAMPLE_FORMAT) == SIGNED, _tag(file, BITS) or 32, int(values.max(initial=0))
    if top := _declared_top(file, values):
        return top
    if bits == 32 and 0 < largest < 65536:
        fewer = 8 if largest < 256 else 16
        note(f"32-bit samples up to {largest}, taken as {fewer}-bit ones")
        return (1 << fewer) - 1
    return (1 << (bits - signed)) - 1


def _top_of_floats(file: "Image.Image", values: np.ndarray) -> float:
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    top = float(_tag(file, SMAX_SAMPLE) or 1)
    if not np.isfinite(low + high):
        raise Refused("floating-point samples that are not finite")
    if low < -0.01 * top or high > 1.01 * top:
        raise Refused(f"floating-point samples from {low:g} to {high:g}: only 0 to {top:g} is defined")
    return top


def is_deep(file: "Image.Image", data: bytes) -> bool:
    """Whether an opened file has samples of more than 8 bits."""
    return file.mode in (*SIXTEEN_BIT_MODES, "I", "F") or _is_sixteen_bit(file, data)


def _is_sixteen_bit(file: "Image.Image", data: bytes) -> bool:
    return data[24] == 16 if file.format == "PNG" else _tag(file, BITS) == 16


def _sixteen_bit_color(file: "Image.Image", data: bytes) -> tuple["Image.Image", "Image.Image | None"]:
    """The loaded RGB image of 16 bits per sample, of which Pillow keeps the upper 8; and its alpha."""
    from PIL import Image

    key, largest = file.info.get("transparency"), _tag(file, MAX_SAMPLE)
    if key is None and not (largest and int(largest) < 32768):
        return file, None
    with Image.open(io.BytesIO(data)) as other:  # read as if samples had the other byte order, it gives the lower 8
        other.tile = [tile._replace(args=_other_order(tile.args)) for tile in other.tile]
        values = np.asarray(file).astype(np.uint16)
        values <<= 8
        values |= np.asarray(other)
    top = _declared_top(file, values) or 65535
    table = np.uint8(np.minimum(np.arange(65536) * np.float32(255 / top) + 0.5, 255))
    image = Image.fromarray(table[values])
    return image, None if key is None else _alpha((values != np.array(key)).any(axis=-1))


def _other_order(arguments: Any) -> Any:
    """Arguments of a decoder whose first (or only) one is like RGB;16B, with the other byte order."""
    mode, *others = (arguments,) if isinstance(arguments, str) else arguments
    if mode[:-1] != "RGB;16":
        raise Refused(f"16-bit samples in an order that is not read ({mode}): export it with 8 bits")
    swapped = mode[:-1] + OTHER_ORDER[mode[-1]]
    return swapped if isinstance(arguments, str) else (swapped, *others)


def _note_darkness(level: int, note: Note) -> None:
    if level < DARK:
        note(f"almost black: no sample reaches {DARK} of 255; if that is not meant, export it with 8 bits")
