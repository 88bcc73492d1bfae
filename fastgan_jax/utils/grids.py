"""Image grids, captions and PNG files: uint8 [H, W, C] on the host."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.utils.files import write_bytes

GRID_BACKGROUND = 255
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def image_grid(images: np.ndarray, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Lays images out in rows.

    Args:
        images: uint8 [N, H, W, C].
        columns: images in a row; None: about as many as rows.
        padding: white pixels between images.

    Returns:
        uint8 [rows * (H + padding) - padding, columns * (W + padding) - padding, C].
    """
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + padding) - padding, columns * (width + padding) - padding, channels)
    grid = np.full(shape, GRID_BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + padding), index % columns * (width + padding)
        grid[top : top + height, left : left + width] = image
    return grid


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """An image, uint8 [H, W, C], with a line of text below it as large as fits: uint8 [H + h, W, C]."""
    from PIL import Image, ImageDraw, ImageFont

    height, width, channels = image.shape
    for size in range(max(10, width // 20), 3, -1):
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = (round(side) for side in font.getbbox(text))
        if right - left <= width - 2:
            break
    line = Image.new("L", (width, bottom + top), GRID_BACKGROUND)
    ImageDraw.Draw(line).text(((width - right - left) // 2, top // 2), text, fill=0, font=font)
    strip = np.repeat(np.asarray(line)[..., None], min(channels, 3), axis=-1)
    if channels == 4:
        strip = np.concatenate([strip, np.full_like(strip[..., :1], 255)], axis=-1)
    return np.concatenate([image, strip])


def titled_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Images {title: uint8 [N, H, W, C]} in columns with their titles above: uint8 [H', W', C]."""
    tiles = np.stack(list(columns.values()), axis=1)
    line = np.full((1, *tiles.shape[3:]), GRID_BACKGROUND, np.uint8)
    titles = [captioned(line, title) for title in columns]
    height = max(map(len, titles))  # that of a caption depends on its letters
    titles = [np.pad(title, ((0, height - len(title)), (0, 0), (0, 0)), constant_values=255) for title in titles]
    rows = tiles.reshape(-1, *tiles.shape[2:])
    return np.concatenate([image_grid(part, len(columns)) for part in (np.stack(titles), rows)])


def save_png(path: str | Path, image: np.ndarray, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes uint8 [H, W, C] (C = 1, 3 or 4) as a PNG whose text fields are `metadata`; see `files.write_bytes`."""
    write_bytes(path, encode_png(image, metadata))


def encode_png(image: np.ndarray, metadata: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a PNG of uint8 [H, W, C], C = 1, 3 or 4."""
    from PIL import Image, PngImagePlugin

    information = PngImagePlugin.PngInfo()
    for name, value in (metadata or {}).items():
        information.add_text(name, str(value))
    mode = MODES[image.shape[-1]]
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if mode == "L" else image).save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()
