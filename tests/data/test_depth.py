"""Samples of every depth, and transparency of every kind: as the format says, or refused by name."""

import struct

import numpy as np
import pytest
from image_sets import encoded, load
from PIL import Image
from raw_images import GRAY, GRAY_ALPHA, PALETTE, RGB, RGB_ALPHA, png, png_chunk, tiff_of

from fastgan_jax.data.decode import Decoded, Format, decode

SIDE = 16


def flat(value, kind: str, *more: int) -> np.ndarray:
    """[SIDE, SIDE] or, for several values, [SIDE, SIDE, S] of one type, such as "<u2"."""
    return np.broadcast_to(np.array(value, kind), (SIDE, SIDE, *np.shape(value))).copy()


def read(data: bytes, channels: int = 3, background: str = "white") -> Decoded:
    return decode(data, Format(SIDE, channels, "squash", background))


def center(decoded: Decoded) -> list[int]:
    return decoded.pixels[8, 8].tolist()


SIXTEEN = 257  # times a value of 8 bits, for 16
TIFFS = {
    "16 bits": (tiff_of(flat(100 * SIXTEEN, "<u2")), 100),
    "16 bits, big-endian": (tiff_of(flat(100 * SIXTEEN, ">u2")), 100),
    "16 bits, white is zero": (tiff_of(flat(40 * SIXTEEN, "<u2"), photometric=0), 215),
    "8 bits, white is zero": (tiff_of(flat(40, "u1"), photometric=0), 215),
    "4 bits, white is zero": (tiff_of(flat(0x33, "u1")[:, :8], photometric=0, bits=4, width=SIDE), 204),
    "1 bit, white is zero": (tiff_of(flat(0, "u1")[:, :2], photometric=0, bits=1, width=SIDE), 255),
    "float, white is zero": (tiff_of(flat(0.25, "<f4"), photometric=0), 191),
    "32 bits": (tiff_of(flat(2**31, "<u4")), 128),
    "32 bits, signed": (tiff_of(flat(2**30, "<i4")), 128),
    "32 bits, signed, big-endian": (tiff_of(flat(2**30, ">i4")), 128),
    "16 bits, signed": (tiff_of(flat(2**14, "<i2")), 128),
    "12 bits in 16": (tiff_of(flat(2048, "<u2"), t281=[4095]), 128),
    "12 bits in 16, big-endian": (tiff_of(flat(2048, ">u2"), t281=[4095]), 128),
    "10 bits in 16": (tiff_of(flat(512, "<u2"), t281=[1023]), 128),
    "12 bits in 32": (tiff_of(flat(2048, "<u4"), t281=[4095]), 128),
    "12 bits, packed": (tiff_of(np.tile(np.array([0x80, 0x08, 0x00], "u1"), (SIDE, 8)), bits=12, width=SIDE), 128),
    "float": (tiff_of(flat(0.5, "<f4")), 128),
    "float, big-endian": (tiff_of(flat(0.5, ">f4")), 128),
    "12 bits in 16, color": (tiff_of(flat([2048, 1024, 512], "<u2"), photometric=2, t281=[4095] * 3), [128, 64, 32]),
    "the same, big-endian": (tiff_of(flat([2048, 1024, 512], ">u2"), photometric=2, t281=[4095] * 3), [128, 64, 32]),
    "16 bits, color": (tiff_of(flat([51400, 25700, 12850], "<u2"), photometric=2), [200, 100, 50]),
    "16 bits, inks": (tiff_of(flat([65535, 0, 0, 0], "<u2"), photometric=5), [0, 255, 255]),
    "Lab": (tiff_of(flat([153, 0, 0], "u1"), photometric=8), 145),
    "premultiplied": (tiff_of(flat([100, 50, 25, 128], "u1"), photometric=2, t338=[1]), [227, 177, 152]),
    "not premultiplied": (tiff_of(flat([100, 50, 25, 128], "u1"), photometric=2, t338=[2]), [177, 152, 140]),
}


@pytest.mark.parametrize("name", TIFFS)
def test_samples_of_a_tiff(name):
    data, expected = TIFFS[name]
    pixels = read(data).pixels
    assert (pixels == pixels[0, 0]).all()
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1


def test_small_values_in_many_bits_are_named():
    decoded = read(tiff_of(flat(128, "<i4")))
    assert center(decoded) == [128] * 3 and decoded.notes == ["32-bit samples up to 128, taken as 8-bit ones"]
    decoded = read(tiff_of(flat(32896, "<u4")))
    assert center(decoded) == [128] * 3 and decoded.notes == ["32-bit samples up to 32896, taken as 16-bit ones"]
    dark = [flat(2048, "<u2"), flat(100_000, "<u4"), flat(255, "<u2")]
    files = [tiff_of(samples) for samples in dark]
    files += [
        tiff_of(flat([2048] * 3, "<u2"), photometric=2),
        tiff_of(flat([2048] * 3 + [65535], "<u2"), photometric=2, t338=[2]),
    ]
    files += [encoded(Image.fromarray(flat(2048, "<u2")))]
    for data in files:
        assert [note.split(":")[0] for note in read(data).notes] == ["almost black"]
    assert not read(encoded(Image.fromarray(flat(0, "<u2")))).notes  # black may be black


def fits_of(bits: int) -> bytes:
    """A FITS image of 4x4 samples of this depth, all zero."""
    facts = {"SIMPLE": "T", "BITPIX": bits, "NAXIS": 2, "NAXIS1": 4, "NAXIS2": 4}
    header = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in facts.items()) + "END".ljust(80)
    return header.ljust(2880).encode() + bytes(2880)


def test_deep_fits_files_are_refused_since_their_scale_is_not_read():
    assert center(read(fits_of(8))) == [0] * 3
    for bits in (16, 32):
        with pytest.raises(ValueError, match="FITS samples of 16 or 32 bits"):
            read(fits_of(bits))


def test_an_image_that_is_wholly_transparent_is_named():
    decoded = read(encoded(Image.new("RGBA", (8, 8), (9, 9, 9, 0))))
    assert decoded.notes == ["wholly transparent: if that is not meant, export it without transparency"]
    assert not read(encoded(Image.new("RGBA", (8, 8), (9, 9, 9, 1)))).notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff_of(flat(-5, "<i4")), "samples below zero, down to -5"),
        (tiff_of(flat(-5, "<i2")), "samples below zero, down to -5"),
        (tiff_of(flat(5, "i1")), "8-bit samples with signs"),
        (tiff_of(flat(100.0, "<f4")), "floating-point samples from 0 to 100: only 0 to 1 is defined"),
        (tiff_of(flat(np.nan, "<f4")), "floating-point samples that are not finite"),
        (tiff_of(flat(0.5, "<f8")), "a TIFF that Pillow does not read (1 x 64 bits per pixel, floating-point)"),
        (tiff_of(flat([0.5] * 3, "<f4"), photometric=2), "a TIFF that Pillow does not read (3 x 32 bits"),
        (tiff_of(flat(40, ">u2"), photometric=0), "(1 x 16 bits per pixel, unsigned, white at 0): export it as PNG"),
    ],
    ids=["negative32", "negative16", "signed8", "floats", "nan", "float64", "color floats", "big-endian inverted"],
)
def test_what_has_no_meaning_is_refused_by_name(tmp_path, caplog, data, reason):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").write_bytes(data)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "b.png")
    images = load(tmp_path, path=str(tmp_path / "images"))
    assert images.names == ["b.png"] and images.skipped == ["a.tif"]
    assert "skipped a.tif (" in caplog.text and reason in caplog.text


@pytest.mark.parametrize("tags", [{"t254": [1]}, {"t50706": [257]}], ids=["preview", "raw"])
def test_a_preview_of_a_raw_file_is_not_taken_for_the_image(tags):
    with pytest.raises(ValueError, match="a camera's raw file, or another whose first page is a small preview"):
        read(tiff_of(flat([1, 2, 3], "u1"), photometric=2, **tags))


def halves(bits: int, left: int, right: int) -> list[bytes]:
    """Packed rows of gray samples, one value in the left half and another in the right."""
    row = sum(value << bits * (SIDE - 1 - place) for place, value in enumerate([left] * 8 + [right] * 8))
    return [row.to_bytes(SIDE * bits // 8, "big")] * SIDE


@pytest.mark.parametrize(("bits", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1), (16, 1 / 257)])
@pytest.mark.parametrize("transparent", [0, 1])
def test_a_transparent_gray(bits, scale, transparent):
    data = png(
        SIDE, halves(bits, transparent, 1 - transparent), bits, GRAY, png_chunk(b"tRNS", struct.pack(">H", transparent))
    )
    pixels = read(data, channels=4, background="lime").pixels
    assert (pixels[:, :7] == (0, 255, 0, 0)).all()
    value = round((1 - transparent) * scale)
    assert (pixels[:, 9:] == (value, value, value, 255)).all()


@pytest.mark.parametrize("key", [(0x1234, 0x5678, 0x9ABC), (0x0A0A, 0x1414, 0x1E1E), (0, 0, 0)])
def test_a_transparent_color_of_16_bits_is_exact(key):
    near = (*key[:2], key[2] ^ 1)  # the same in 8 bits
    row = struct.pack(">3H", *key) * 8 + struct.pack(">3H", *near) * 8
    data = png(SIDE, [row] * SIDE, 16, RGB, png_chunk(b"tRNS", struct.pack(">3H", *key)))
    alpha = read(data, channels=4).pixels[..., 3]
    assert (alpha[:, :7] == 0).all() and (alpha[:, 9:] == 255).all()
    assert (read(data).pixels[:, :7] == 255).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_with_half_transparent_colors(bits):
    chunks = png_chunk(b"PLTE", bytes([200, 100, 50, 0, 0, 0])), png_chunk(b"tRNS", b"\x80")
    decoded = read(png(SIDE, [bytes(SIDE * bits // 8)] * SIDE, bits, PALETTE, *chunks), background="black")
    assert center(decoded) == [100, 50, 25]


def test_alpha_of_16_bits():
    row = struct.pack(">4H", *(SIXTEEN * value for value in (200, 100, 50, 128))) * SIDE
    assert np.abs(np.subtract(center(read(png(SIDE, [row] * SIDE, 16, RGB_ALPHA), 4)), [200, 100, 50, 128])).max() <= 1
    row = struct.pack(">2H", SIXTEEN * 100, 0) * SIDE
    assert center(read(png(SIDE, [row] * SIDE, 16, GRAY_ALPHA))) == [255, 255, 255]
