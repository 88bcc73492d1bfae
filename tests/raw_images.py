"""Image files and color profiles written byte by byte: kinds that no library writes."""

import struct
import zlib

import numpy as np

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # color types of PNG


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, rows: list[bytes], bits: int, color: int, *chunks: bytes) -> bytes:
    """A PNG file of packed rows, with further chunks before its pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), bits, color, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + png_chunk(b"IEND", b"")


def png_of(pixels: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG file of uint8 or uint16 [H, W] or [H, W, 3]."""
    bits, color = 8 * pixels.dtype.itemsize, RGB if pixels.ndim == 3 else GRAY
    rows = [row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels]
    return png(pixels.shape[1], rows, bits, color, *chunks)


def tiff_of(
    samples: np.ndarray, *, photometric: int = 1, bits: int | None = None, width: int | None = None, **tags
) -> bytes:
    """An uncompressed TIFF of samples [H, W] or [H, W, S] in their own byte order.

    Args:
        samples: of any type; with fewer bits than it has, packed rows.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 Lab.
        bits: per sample; None: of the type.
        width: in pixels; None: of the array.
        tags: further tags of 16-bit values, as t281=[4095].
    """
    order = ">" if samples.dtype.byteorder == ">" else "<"
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    data = samples.tobytes()
    longs = {256: [width or samples.shape[1]], 257: [len(samples)], 273: [0], 278: [len(samples)], 279: [len(data)]}
    shorts = {258: [bits or 8 * samples.dtype.itemsize] * channels, 259: [1], 262: [photometric], 277: [channels]}
    shorts |= {339: [kind] * channels} | {int(name[1:]): values for name, values in tags.items()}
    entries = sorted([(tag, "I", 4, v) for tag, v in longs.items()] + [(tag, "H", 3, v) for tag, v in shorts.items()])
    start = 8 + 2 + 12 * len(entries) + 4
    outside = sum(8 * len(values) for *_, values in entries)  # at most
    directory, values_outside = struct.pack(order + "H", len(entries)), b""
    for tag, letter, number, values in entries:
        packed = struct.pack(f"{order}{len(values)}{letter}", *([start + outside] if tag == 273 else values))
        if len(packed) > 4:
            position = start + len(values_outside)
            values_outside += packed
            packed = struct.pack(order + "I", position)
        directory += struct.pack(order + "HHI", tag, number, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return (head + directory + b"\0\0\0\0" + values_outside).ljust(start + outside, b"\0") + data


# X, Y, Z of red, green and blue, adapted to D50, as they are published.
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))


def _icc(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 2) + b"x\0" + bytes(78), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI", 128 + len(table) + len(body), b"", 0x02400000) + kind + space + connection
    return header + bytes(12) + b"acsp" + bytes(28) + white + bytes(48) + table + body


def _xyz(values: tuple) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(256 * value))


def rgb_profile(primaries: tuple, gamma: float) -> bytes:
    tags = {b"wtpt": _xyz((0.9642, 1, 0.8249))}
    for letter, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags |= {letter + b"XYZ": _xyz(primary), letter + b"TRC": _gamma(gamma)}
    return _icc(b"RGB ", b"XYZ ", b"mntr", tags)


def gray_profile(gamma: float) -> bytes:
    return _icc(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": _xyz((0.9642, 1, 0.8249)), b"kTRC": _gamma(gamma)})


def cmyk_profile() -> bytes:
    """Inks that darken Lab each in its own way, on a grid of two points."""
    grid = b""
    for corner in np.ndindex(2, 2, 2, 2):
        cyan, magenta, yellow, black = corner
        light = 95 - 30 * cyan - 40 * magenta - 8 * yellow - 60 * black
        grid += bytes([max(0, light) * 255 // 100, 128 - 35 * cyan + 70 * magenta, 128 - 45 * cyan + 85 * yellow])
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + grid + 3 * ramp
    tags = {name: table for name in (b"A2B0", b"A2B1", b"A2B2")}
    return _icc(b"CMYK", b"Lab ", b"prtr", {b"wtpt": _xyz((0.9642, 1, 0.8249)), **tags})
