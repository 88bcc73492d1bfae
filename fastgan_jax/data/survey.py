"""What a few images tell of a set before all of it is decoded: their sizes, and whether they are drawings."""

import contextlib
import io
import math
from functools import partial
from typing import NamedTuple

import numpy as np

from fastgan_jax.data.decode import Decoded, Format, collected_warnings, decode_or_reason
from fastgan_jax.data.memory import without_pixel_limit
from fastgan_jax.data.source import Source

MEASURED = 64  # images whose sizes are read, from the heads of their files
DECODED = 8  # images that are looked at
LOOK = Format(resolution=128, channels=3, fit="squash", background="white")


class Survey(NamedTuple):
    """What was found; a file that cannot be read is passed over here, and named when the set is decoded.

    Attributes:
        sizes: (width, height) of up to MEASURED images.
        flat: share of pixels that equal their right neighbor at 128x128, the median of up to DECODED images. Of
            photographs it is about 0.05, of emoji 0.5, of flags 0.8.
    """

    sizes: list[tuple[int, int]]
    flat: float


def survey(source: Source) -> Survey:
    """Looks at images evenly spread over a source."""
    from PIL import Image

    sizes, shares = [], []
    with collected_warnings() as thread, without_pixel_limit():
        for index in _spread(len(source.names), MEASURED):
            thread.messages = []
            with contextlib.suppress(Exception), Image.open(io.BytesIO(source.read(index))) as image:
                sizes.append(image.size)
        for index in _spread(len(source.names), DECODED):
            decoded, _ = decode_or_reason(partial(source.read, index), LOOK, thread, source.names[index])
            if isinstance(decoded, Decoded):
                shares.append(_flat(decoded.pixels))
    return Survey(sizes, float(np.median(shares)) if shares else 0.0)


def _spread(count: int, most: int) -> range:
    return range(0, count, max(1, math.ceil(count / most)))


def _flat(pixels: np.ndarray) -> float:
    return (pixels[:, 1:] == pixels[:, :-1]).all(-1).mean()
