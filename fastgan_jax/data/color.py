"""Colors to sRGB: embedded profiles, and what PNG and EXIF say in place of one, converted by LittleCMS."""

import contextlib
import functools
import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageCms

IDENTICAL = 1  # levels of 255 by which a profile may differ from sRGB without being applied
SPACES = {"L": "GRAY", "I;16": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
WHITE, PRIMARIES = (0.3127, 0.3290), ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))  # of sRGB: x, y of D65, R, G and B
ADOBE_RGB, ADOBE_GAMMA = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875
SCREEN_GAMMA = 2.2
EXIF_IFD, INTEROPERABILITY_IFD, COLOR_SPACE, UNCALIBRATED = 0x8769, 0xA005, 0xA001, 0xFFFF


Note = Callable[[str], None]  # takes what is odd about an image


class UnusableProfile(ValueError):
    """A profile that does not fit the image, or that cannot be read."""


def to_srgb(image: "Image.Image", profile: bytes | None, note: Note) -> "Image.Image":
    """An image L, I;16 (of full range), RGB, RGBA, CMYK or LAB in sRGB: L, RGB or RGBA.

    A profile that cannot be used, and CMYK without one, are noted.
    """
    if image.mode == "RGBA":
        converted = to_srgb(image.convert("RGB"), profile, note) if profile else image
        if profile:
            converted.putalpha(image.getchannel("A"))
        return converted
    if image.mode == "LAB":
        return _transform(b"", "LAB").apply(image)
    if profile:
        try:
            return _apply(image, profile)
        except UnusableProfile as error:
            note(f"color profile not usable, colors taken as they are ({error})")
    elif image.mode == "CMYK":
        note("CMYK without a color profile, converted by a plain formula")
    return image.convert("RGB") if image.mode == "CMYK" else _as_it_is(image)


def profile_of(file: "Image.Image", data: bytes, note: Note) -> bytes | None:
    """The color profile of an open file whose content is `data`, or one made from what it says in place of that."""
    if "icc_profile" in file.info:
        if file.info["icc_profile"] is None:  # what Pillow leaves of one that it cannot read
            note("color profile not readable, colors taken as they are")
        return file.info["icc_profile"]
    if file.format == "PNG" and "srgb" not in file.info:
        return _profile_of_png(file.info.get("gamma"), file.info.get("chromaticity"))
    if file.format == "JPEG2000":
        return _profile_of_jpeg2000(data)
    if file.format in ("JPEG", "MPO") and file.mode == "RGB" and _is_adobe_rgb(file):
        return _made_profile(ADOBE_RGB, WHITE, ADOBE_GAMMA)
    return None


def _apply(image: "Image.Image", profile: bytes) -> "Image.Image":
    if image.mode in ("L", "I;16") and _read(profile)[1] == "RGB":
        image = _as_it_is(image)
        transform = _transform(profile, "RGB")
        return image if transform is None else transform.apply(image.convert("RGB"))
    transform = _transform(profile, image.mode)
    return _as_it_is(image) if transform is None else transform.apply(image)


def _as_it_is(image: "Image.Image") -> "Image.Image":
    """The image in 8 bits, its colors unchanged."""
    from PIL import Image

    if image.mode != "I;16":
        return image
    table = np.uint8(np.arange(65536) / 257 + 0.5)
    return Image.fromarray(table[np.asarray(image)])


def _read(profile: bytes) -> tuple["ImageCms.ImageCmsProfile", str]:
    """A profile and its color space: GRAY, RGB, CMYK, ..."""
    from PIL import ImageCms

    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return read, read.profile.xcolor_space.strip()
    except (OSError, UnicodeDecodeError, ImageCms.PyCMSError) as error:
        raise UnusableProfile(f"{len(profile)} bytes that are not a profile: {error}") from None


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> "ImageCms.ImageCmsTransform | None":
    """From images of a mode with this profile (of LAB: without one) to RGB in sRGB; None if that changes nothing.

    Raises:
        UnusableProfile: if the profile does not fit the mode, or LittleCMS cannot use it.
    """
    from PIL import Image, ImageCms

    source, space = _read(profile) if profile else (ImageCms.createProfile("LAB"), SPACES["LAB"])
    if space != SPACES[mode]:
        raise UnusableProfile(f"it is for {space}, and the image is {SPACES[mode]}")
    target, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    try:
        flags = ImageCms.Flags.NONE if profile else ImageCms.Flags.HIGHRESPRECALC
        transform = ImageCms.buildTransform(source, target, mode, "RGB", renderingIntent=intent, flags=flags)
    except ImageCms.PyCMSError as error:
        raise UnusableProfile(str(error)) from None
    if mode in ("L", "I;16"):
        values = np.arange(256, dtype=np.uint8)[None]
        sample = Image.fromarray(values if mode == "L" else values.astype(np.uint16) * 257)
        expected = np.repeat(values[..., None], 3, axis=-1)
    elif mode == "RGB":
        expected = np.indices((16, 16, 16)).reshape(3, 1, -1).transpose(1, 2, 0).astype(np.uint8) * 17
        sample = Image.fromarray(expected)
    else:
        return transform
    difference = np.asarray(transform.apply(sample)).astype(int) - expected
    return None if np.abs(difference).max() <= IDENTICAL else transform


def _profile_of_png(gamma: float | None, chromaticity: tuple | None) -> bytes | None:
    """The profile that the chunks gAMA and cHRM stand for; None if they mean sRGB, as near as makes no difference."""
    white, primaries = WHITE, PRIMARIES
    if chromaticity and len(chromaticity) == 8 and all(0 < value < 1 for value in chromaticity):
        given = [tuple(chromaticity[i : i + 2]) for i in range(0, 8, 2)]
        if np.abs(np.array(given) - np.array([WHITE, *PRIMARIES])).max() > 0.01:
            white, primaries = given[0], tuple(given[1:])
    if gamma and not 0.2 <= gamma <= 5:
        gamma = None  # nonsense
    if primaries == PRIMARIES and (not gamma or abs(gamma * SCREEN_GAMMA - 1) < 0.05):
        return None  # writers say 1 / 2.2 for the curve of sRGB
    with contextlib.suppress(np.linalg.LinAlgError):
        return _made_profile(primaries, white, 1 / gamma if gamma else None)
    return None


def _profile_of_jpeg2000(data: bytes) -> bytes | None:
    """The profile in the box colr of a JP2 file, which Pillow does not read."""
    position = data.find(b"colr\x02", 0, 4096)
    if position < 4:
        return None
    length = int.from_bytes(data[position - 4 : position], "big")
    return data[position + 7 : position - 4 + length]  # after the box's type, method, precedence and approximation


def _is_adobe_rgb(file: "Image.Image") -> bool:
    """Whether the EXIF block of a camera says that colors are Adobe RGB, which need not have a profile then."""
    try:
        exif = file.getexif()
        if exif.get_ifd(EXIF_IFD).get(COLOR_SPACE) == UNCALIBRATED:
            return str(exif.get_ifd(INTEROPERABILITY_IFD).get(1, "")).startswith("R03")
    except Exception:  # noqa: BLE001 (the parser raises all kinds for damaged blocks)
        pass
    return False


def _made_profile(primaries: tuple, white: tuple, gamma: float | None) -> bytes:
    """An ICC profile (version 2) of a display.

    Args:
        primaries: x and y of red, green and blue.
        white: x and y of the white point, which is adapted to D50 by the method of Bradford.
        gamma: of the curve from values to light; None: the curve of sRGB.
    """

    def xyz(point: tuple) -> np.ndarray:
        x, y = point
        return np.array([x / y, 1, (1 - x - y) / y])

    def coordinates(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

    d50 = np.array([0.9642, 1.0, 0.8249])
    ramp = np.linspace(0, 1, 1024)
    light = ramp**gamma if gamma else np.where(ramp <= 0.04045, ramp / 12.92, ((ramp + 0.055) / 1.055) ** 2.4)
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *np.round(light * 65535).astype(int))
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapt = np.linalg.inv(bradford) @ np.diag(bradford @ d50 / (bradford @ xyz(white))) @ bradford
    columns = np.stack([xyz(point) for point in primaries], axis=1)
    columns = adapt @ (columns * np.linalg.solve(columns, xyz(white)))
    tags = {b"wtpt": coordinates(d50)}
    for name, column in zip((b"r", b"g", b"b"), columns.T, strict=True):
        tags |= {name + b"XYZ": coordinates(column), name + b"TRC": curve}
    description = b"made\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(description)) + description + b"\0" * 78
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + coordinates(d50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
