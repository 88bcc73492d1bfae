"""Image files and training sets, for tests of reading them."""

import io

import numpy as np
from PIL import Image

from configs import base
from fastgan_jax.data.dataset import ImageSet, load_image_set
from fastgan_jax.data.decode import Format, decode

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(
    data: bytes, side: int = 8, channels: int = 3, fit: str = "squash", background: str = "white"
) -> np.ndarray:
    return decode(data, Format(side, channels, fit, background)).pixels


def load(tmp_path, resolution=16, channels=3, num_classes=0, **fields) -> ImageSet:
    data = base.get_config().data
    data.cache_dir = str(tmp_path / "cache")
    for name, value in fields.items():
        data[name] = value
    return load_image_set(
        data, resolution=resolution, channels=channels, num_classes=num_classes, run_dir=tmp_path / "run"
    )
