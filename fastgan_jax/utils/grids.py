"""Image grids, captions and PNG files: uint8 [H, W, C] on the host."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.utils.files import as_unicode, replacing

WHITE = 255
PADDING = 2


def image_grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Images, uint8 [N, H, W, C], in rows of `columns` (None: about as many as rows), PADDING white pixels between.

    The result is uint8 [rows * (H + PADDING) - PADDING, columns * (W + PADDING) - PADDING, C].
    """
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + PADDING) - PADDING, columns * (width + PADDING) - PADDING, channels)
    grid = np.full(shape, WHITE, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + PADDING), index % columns * (width + PADDING)
        grid[top : top + height, left : left + width] = image
    return grid


def captioned(image: np.ndarray, text: str, longest: str | None = None) -> np.ndarray:
    """An image, uint8 [H, W, C], with a line of text below it as large as fits: uint8 [H + h, W, C].

    The size is that of `longest` (None: of the text itself), so that images with texts up to that are equally high.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width, channels = image.shape
    for size in range(max(10, width // 20), 3, -1):
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = (round(side) for side in font.getbbox(longest or text))
        if right - left <= width - 2:
            break
    line = Image.new("L", (width, bottom + top), WHITE)
    left, top, right, _ = (round(side) for side in font.getbbox(text))
    ImageDraw.Draw(line).text(((width - right - left) // 2, top // 2), text, fill=0, font=font)
    strip = np.repeat(np.asarray(line)[..., None], min(channels, 3), axis=-1)
    if channels == 4:
        strip = np.concatenate([strip, np.full_like(strip[..., :1], 255)], axis=-1)
    return np.concatenate([image, strip])


def equally_high(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Captioned images, whose height depends on the letters, stacked on white."""
    height = max(map(len, tiles))
    padded = [np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0)), constant_values=WHITE) for tile in tiles]
    return np.stack(padded)


def titled_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images {title: uint8 [N, H, W, C]} in columns with their titles above: uint8 [H', W', C]."""
    tiles = np.stack(list(columns.values()), axis=1)
    line = np.full((1, *tiles.shape[3:]), WHITE, np.uint8)
    titles, rows = equally_high([captioned(line, title) for title in columns]), tiles.reshape(-1, *tiles.shape[2:])
    return np.concatenate([image_grid(part, len(columns)) for part in (titles, rows)])


def save_png(path: str | Path, image: np.ndarray, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes uint8 [H, W, C] (C = 1, 3 or 4) as a PNG whose text fields are `metadata`; see `files.replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(encode_png(image, metadata))


def encode_png(image: np.ndarray, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a PNG of uint8 [H, W, C], C = 1, 3 or 4."""
    from PIL import Image, PngImagePlugin

    information = PngImagePlugin.PngInfo()
    for name, value in (metadata or {}).items():
        information.add_text(name, as_unicode(value))
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()
