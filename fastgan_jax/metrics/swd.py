"""The sliced Wasserstein distance of patches of a Laplacian pyramid: texture by scale (Karras et al., 2018, section 5).

It needs no pretrained network. Images larger than 256 pixels are shrunk to that; of smaller ones the scales above their
size are left out.
"""

import numpy as np

from fastgan_jax.metrics.perceptual import mirror
from fastgan_jax.utils.images import rgb

SCALES = (256, 128, 64, 32)  # sides of the pyramid's levels, in pixels; the last one holds what the others leave
PATCH = 7  # side, in pixels
PATCHES = 64  # of each image at each scale
ROUNDING = 1 / 127.5 / 12**0.5  # deviation of the error of rounding to uint8: a flat channel has no smaller one
DIRECTIONS, QUANTILES = 128, 512
MOST_IMAGES = 200  # of each set, mirror images not counted
Patches = dict[int, np.ndarray]  # {scale: float32 [K, PATCH, PATCH, 3]}


def patches(images: np.ndarray, seed: int, *, mirrored: bool = False) -> Patches:
    """Patches at random places of the levels of images, uint8 [N, S, S, C] with S at least 32.

    `mirrored`: of their mirror images too.
    """
    random, found = np.random.RandomState(seed), {}
    for image in np.concatenate([images, mirror(images)]) if mirrored else images:
        for side, level in pyramid(image).items():
            tops, lefts = random.randint(0, side - PATCH + 1, (2, PATCHES))
            windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), (0, 1))
            found.setdefault(side, []).append(windows[tops, lefts].transpose(0, 2, 3, 1))
    return {side: np.concatenate(parts) for side, parts in found.items()}


def pyramid(image: np.ndarray) -> dict[int, np.ndarray]:
    """The levels of one image, uint8 [S, S, C], by side: float32 [side, side, 3], where 1 is half the range of values.

    A level is what a bicubic enlargement of the next smaller image lacks; each of these is rounded to uint8.
    """
    from PIL import Image
    from PIL.Image import Resampling

    rest, levels = Image.fromarray(rgb(image)), {}
    if rest.width > SCALES[0]:
        rest = rest.resize((SCALES[0], SCALES[0]), Resampling.LANCZOS)
    for side in (side for side in SCALES if side <= rest.width):
        half = rest.resize((side // 2, side // 2), Resampling.BOX)
        lower = half.resize((side, side), Resampling.BICUBIC) if side > SCALES[-1] else np.float32(127.5)
        levels[side] = (np.asarray(rest, np.float32) - np.asarray(lower, np.float32)) / 127.5
        rest = half
    return levels


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray, seed: int = 3) -> float:
    """Mean distance of the quantiles of patches [K, P, P, 3] and [L, P, P, 3] along random directions.

    Both are scaled so that the real ones have mean 0 and standard deviation 1 in each channel. Sets of finite size have
    a distance above 0 also if they come from one distribution.
    """
    mean, deviation = real.mean((0, 1, 2), dtype=np.float64), real.std((0, 1, 2), dtype=np.float64)
    directions = np.random.RandomState(seed).randn(real[0].size, DIRECTIONS)
    directions /= np.linalg.norm(directions, axis=0)
    levels = np.linspace(0, 1, QUANTILES)

    def quantiles(x: np.ndarray) -> np.ndarray:
        scaled = (x - mean[None, None, None]) / np.maximum(deviation, ROUNDING)[None, None, None]
        return np.quantile(scaled.reshape(len(x), -1) @ directions, levels, axis=0)

    return float(np.abs(quantiles(real) - quantiles(fake)).mean())


def distances(real: Patches, fake: Patches) -> dict[str, float]:
    """1000 times the distance at each scale of the real ones, as "swd_SCALE", and their mean as "swd"."""
    found = {f"swd_{side}": 1000 * sliced_wasserstein(real[side], fake[side]) for side in real}
    return {"swd": float(np.mean(list(found.values()))), **found}
