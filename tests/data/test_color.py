"""Colors to sRGB: within two levels of what LittleCMS makes of the same pixels and profile."""

import io
import struct
import zlib

import numpy as np
import pytest
from image_sets import encoded, load
from PIL import Image, ImageCms
from raw_images import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    cmyk_profile,
    gray_profile,
    png_chunk,
    png_of,
    rgb_profile,
)

from fastgan_jax.data.decode import Decoded, Format, decode

SIDE = 64
RANDOM = np.random.default_rng(0)
COLORS = RANDOM.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
PROFILES = {
    "adobe": rgb_profile(ADOBE_RGB, 2.19921875),
    "p3": rgb_profile(DISPLAY_P3, 2.2),
    "prophoto": rgb_profile(PROPHOTO, 1.8),
}
GRAY_LINEAR, CMYK = gray_profile(1.0), cmyk_profile()
WRITERS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 95}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {"quality": 95}),
}


def read(data: bytes, channels: int = 3) -> Decoded:
    return decode(data, Format(SIDE, channels, "squash", "white"))


def managed(image: Image.Image, profile: bytes) -> np.ndarray:
    """What LittleCMS makes of an image, [H, W, 3]."""
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(image, source, target, renderingIntent=1, outputMode="RGB")).astype(int)


def stored(data: bytes) -> Image.Image:
    """An image as its file holds it, without color management."""
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", PROFILES)
def test_embedded_profiles_are_converted(name, writer):
    kind, options = WRITERS[writer]
    data = encoded(Image.fromarray(COLORS), kind, icc_profile=PROFILES[name], **options)
    decoded, expected = read(data), managed(stored(data), PROFILES[name])
    assert np.abs(decoded.pixels - expected).max() <= 2
    assert np.abs(expected - np.asarray(stored(data))).max() > 20  # it matters
    assert not decoded.notes


@pytest.mark.parametrize("writer", ["jpeg", "tiff", "tiff-lzw"])
def test_a_profile_of_inks_is_converted(writer):
    kind, options = WRITERS[writer]
    data = encoded(Image.fromarray(RANDOM.integers(0, 256, (SIDE, SIDE, 4), np.uint8), "CMYK"), kind, **options)
    with_profile = encoded(stored(data), kind, icc_profile=CMYK, **options)
    assert np.abs(read(with_profile).pixels - managed(stored(with_profile), CMYK)).max() <= 2
    assert read(data).notes == ["CMYK without a color profile, converted by a plain formula"]
    assert np.abs(read(data).pixels - np.asarray(stored(data).convert("RGB")).astype(int)).max() <= 2


def test_gray_profiles_are_converted_in_all_their_depths():
    gray = Image.fromarray(RANDOM.integers(0, 256, (SIDE, SIDE), np.uint8))
    expected = managed(gray, GRAY_LINEAR)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    with_alpha = gray.copy()
    with_alpha.putalpha(255)
    for image in (gray, deep, with_alpha):
        assert np.abs(read(encoded(image, icc_profile=GRAY_LINEAR)).pixels - expected).max() <= 2
    colored = managed(gray.convert("RGB"), PROFILES["prophoto"])  # gray pixels in a file for color
    assert np.abs(read(encoded(gray, icc_profile=PROFILES["prophoto"])).pixels - colored).max() <= 2


def test_transparency_and_palettes_keep_their_profiles():
    image = Image.fromarray(COLORS)
    expected = managed(image, PROFILES["adobe"])
    image.putalpha(128)
    pixels = read(encoded(image, icc_profile=PROFILES["adobe"]), channels=4).pixels
    assert np.abs(pixels[..., :3] - expected).max() <= 2 and (pixels[..., 3] == 128).all()
    palette = Image.fromarray(COLORS).quantize(64)
    expected = managed(palette.convert("RGB"), PROFILES["adobe"])
    assert np.abs(read(encoded(palette, icc_profile=PROFILES["adobe"])).pixels - expected).max() <= 2


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (GRAY_LINEAR, "it is for GRAY, and the image is RGB"),
        (CMYK, "it is for CMYK, and the image is RGB"),
        (b"no profile" * 9, "90 bytes that are not a profile"),
        (PROFILES["adobe"][:300], "cannot build transform"),
    ],
    ids=["gray", "cmyk", "garbage", "truncated"],
)
def test_an_unusable_profile_is_named_and_colors_stay(tmp_path, caplog, profile, reason):
    data = encoded(Image.fromarray(COLORS), icc_profile=profile)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(data)
    images = load(tmp_path, resolution=SIDE, path=str(tmp_path / "images"))
    np.testing.assert_array_equal(images.images[0], COLORS)
    assert (
        f"a.png was decoded with a warning: color profile not usable, colors taken as they are ({reason}" in caplog.text
    )


def test_a_profile_of_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(read(encoded(Image.fromarray(COLORS), icc_profile=profile)).pixels, COLORS)


def test_an_unreadable_profile_of_a_png_is_named():
    decoded = read(png_of(COLORS, png_chunk(b"iCCP", b"x\0\0not compressed")))
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert decoded.notes == ["color profile not readable, colors taken as they are"]


def test_a_profile_larger_than_pillow_reads_is_used():
    profile = PROFILES["adobe"] + bytes(2_000_000)
    decoded = read(png_of(COLORS, png_chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))))
    assert np.abs(decoded.pixels - managed(Image.fromarray(COLORS), PROFILES["adobe"])).max() <= 2


def chromaticities(*values: float) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in values)))


def gamma(value: float) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", round(100_000 * value)))


def test_gamma_and_chromaticities_of_a_png_stand_for_a_profile():
    adobe = chromaticities(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    expected = managed(Image.fromarray(COLORS), PROFILES["adobe"])
    assert np.abs(read(png_of(COLORS, gamma(1 / 2.19921875), adobe)).pixels - expected).max() <= 2
    linear = COLORS / 255
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(read(png_of(COLORS, gamma(1.0))).pixels - expected).max() <= 2
    assert np.abs(read(png_of(COLORS[..., 0], gamma(1.0))).pixels[..., 0] - expected[..., 0]).max() <= 2
    srgb = chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    for chunks in ([gamma(0.45455), srgb], [png_chunk(b"sRGB", b"\0"), adobe], [gamma(0)], [chromaticities(*[0] * 8)]):
        np.testing.assert_array_equal(read(png_of(COLORS, *chunks)).pixels, COLORS)


def test_a_camera_may_say_adobe_rgb_without_a_profile():
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA001: 0xFFFF, 0xA005: {1: "R03"}})
    data = encoded(Image.fromarray(COLORS), "JPEG", exif=exif, quality=95)
    assert np.abs(read(data).pixels - managed(stored(data), PROFILES["adobe"])).max() <= 2


def test_the_profile_of_a_jpeg2000_is_used():
    plain = encoded(Image.fromarray(COLORS), "JPEG2000")
    start = plain.index(b"colr") - 4
    old = int.from_bytes(plain[start : start + 4], "big")
    box = b"colr\2\0\0" + PROFILES["adobe"]
    box = struct.pack(">I", 4 + len(box)) + box
    header = plain.index(b"jp2h") - 4
    size = int.from_bytes(plain[header : header + 4], "big") - old + len(box)
    data = plain[:header] + struct.pack(">I", size) + plain[header + 4 : start] + box + plain[start + old :]
    assert np.abs(read(data).pixels - managed(Image.fromarray(COLORS), PROFILES["adobe"])).max() <= 2
    np.testing.assert_array_equal(read(plain).pixels, COLORS)
