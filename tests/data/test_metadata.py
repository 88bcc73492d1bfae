"""Text, EXIF blocks and other metadata that are broken or huge never cost the image."""

import struct
import zlib

import numpy as np
import pytest
from image_sets import encoded
from PIL import Image
from raw_images import png_chunk, png_of

from fastgan_jax.data.decode import Format, decode
from fastgan_jax.data.metadata import without_metadata

COLORS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
TARGET = Format(16, 3, "squash", "white")
COMPRESSED_ZEROS = zlib.compress(bytes(5_000_000))


@pytest.mark.parametrize(
    "chunks",
    [
        [png_chunk(b"zTXt", b"comment\0\0" + COMPRESSED_ZEROS)],
        [png_chunk(b"iTXt", b"comment\0\1\0\0\0" + COMPRESSED_ZEROS)],
        [png_chunk(b"tEXt", b"key%d\0" % i + b"a" * 1_000_000) for i in range(68)],
        [png_chunk(b"iCCP", b"x\0\7of an unknown kind")],
        [png_chunk(b"tEXt", b"comment\0text")[:-1] + b"?"],
        [png_chunk(b"pHYs", b"?")],
        [png_chunk(b"gAMA", b"")],
        [png_chunk(b"cHRM", b"?")],
    ],
    ids=["huge zTXt", "huge iTXt", "68 MB of tEXt", "iCCP", "checksum", "pHYs", "gAMA", "cHRM"],
)
def test_chunks_of_a_png(chunks):
    decoded = decode(png_of(COLORS, *chunks), TARGET)
    np.testing.assert_array_equal(decoded.pixels, COLORS)
    assert [note.split(" (")[0] for note in decoded.notes] == [
        "text, EXIF block or color profile that cannot be read are left aside"
    ]


def test_the_orientation_outlives_a_huge_text():
    exif = Image.Exif()
    exif[0x0112] = 3
    block = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    decoded = decode(png_of(COLORS, png_chunk(b"zTXt", b"comment\0\0" + COMPRESSED_ZEROS), block), TARGET)
    np.testing.assert_array_equal(decoded.pixels, COLORS[::-1, ::-1])


def test_damaged_pixels_stay_an_error():
    data = png_of(COLORS, png_chunk(b"pHYs", b"?"))
    with pytest.raises(ValueError, match="Truncated pHYs chunk"):
        decode(data[: len(data) // 2], TARGET)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged blocks
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "TIFF"])
def test_random_bytes_in_metadata_never_cost_the_image(kind):
    random = np.random.default_rng(0)
    block = Image.Exif()
    block.get_ifd(0x8769)[0x9286] = "a comment"
    block[0x010F] = "a maker"
    exif = Image.Exif()
    exif.load(block.tobytes())
    more = {"save_all": True, "append_images": [Image.fromarray(COLORS)]} if kind == "MPO" else {}
    data = encoded(Image.fromarray(COLORS), kind, exif=exif, **more)
    mark = {"PNG": b"eXIf", "WEBP": b"EXIF", "TIFF": struct.pack("<HH", 0x8769, 4)}.get(kind, b"Exif\0\0")
    start = data.index(mark) + {"TIFF": 8, "WEBP": 8}.get(kind, len(mark))
    stop = start + 4 if kind == "TIFF" else data.index(b"a comment") + 9
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(start, stop, 3):
            damaged[place] = random.integers(256)
        if kind == "PNG":
            at = damaged.index(b"eXIf")
            size = int.from_bytes(damaged[at - 4 : at], "big")
            damaged[at + 4 + size : at + 8 + size] = struct.pack(">I", zlib.crc32(damaged[at : at + 4 + size]))
        decode(bytes(damaged), TARGET)


def test_a_jpeg_loses_first_what_is_not_exif():
    data = encoded(Image.fromarray(COLORS), "JPEG", comment="text", exif=b"Exif\0\0block", icc_profile=b"profile")
    (first, _), (second, _) = without_metadata(data)
    assert b"text" not in first and b"Exif" in first and b"profile" in first
    assert b"Exif" not in second and b"profile" in second and second.endswith(data[-100:])
