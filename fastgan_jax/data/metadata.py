"""Files without what is no part of their pixels, for those whose text, EXIF block or profile cannot be read."""

import contextlib
import zlib
from collections.abc import Container, Iterator

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
LARGEST_PROFILE = 64 * 2**20  # bytes, unpacked
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
PNG_FACTS = (b"gAMA", b"cHRM", b"sRGB", b"eXIf")  # kept if they are intact
APP0, APP1, APP2, APP14, APP15, COMMENT, SCAN = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA


def without_metadata(data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """A PNG or JPEG file with less and less of its metadata, each with the color profile if that has left the file."""
    if data.startswith(PNG):
        yield _bare_png(data, PNG_FACTS)
        yield _bare_png(data, ())
    elif data.startswith(JPEG):
        yield _bare_jpeg(data, exif=True), None
        yield _bare_jpeg(data, exif=False), None


def _bare_png(data: bytes, facts: Container[bytes]) -> tuple[bytes, bytes | None]:
    parts, profile, position = [PNG], None, len(PNG)
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        chunk = data[position : position + 12 + length]
        intact = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in PNG_PIXELS or (kind in facts and intact):
            parts.append(chunk)
        elif kind == b"iCCP" and intact:
            with contextlib.suppress(zlib.error):
                profile = zlib.decompressobj().decompress(chunk[chunk.find(b"\0", 8) + 2 : -4], LARGEST_PROFILE)
        position += 12 + length
    return b"".join(parts), profile


def _bare_jpeg(data: bytes, *, exif: bool) -> bytes:
    parts, position = [data[:2]], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != SCAN:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position : position + 2 + length]
        of_pixels = not (APP0 <= marker <= APP15 or marker == COMMENT) or marker in (APP0, APP14)
        is_profile = marker == APP2 and segment[4:16] == b"ICC_PROFILE\0"
        is_exif = marker == APP1 and segment[4:10] == b"Exif\0\0"
        if of_pixels or is_profile or (exif and is_exif):
            parts.append(segment)
        position += 2 + length
    return b"".join([*parts, data[position:]])
