"""What a training set is like: sizes and shapes with advice on how to fit them, and images that are nearly the same."""

import math
from collections.abc import Sequence

import numpy as np

from fastgan_jax.data.accounting import ReadFile
from fastgan_jax.utils.images import rgb

FEW_IMAGES = 60  # the paper's smallest sets have 64
SAME_SHAPE = 1.06  # ratio of two aspects that count as one
MOST = 0.9  # share of a set that counts as nearly all of it
SIDE = 16  # of the small copies by which images are compared
ALIKE = 0.15  # difference of small copies, relative to their contrast, up to which images are near-duplicates
CONTRAST = 4.0  # added to the contrast, levels: so that plain images do not differ by mere noise
CHUNK = 512


def describe_shapes(files: Sequence[ReadFile], resolution: int, fit: str) -> list[str]:
    """Lines on the number, sizes and aspects of the files, with advice on data.fit and model.resolution."""
    width, height = (np.array([getattr(file, side) for file in files]) for side in ("width", "height"))
    short, aspect = np.minimum(width, height), width / height
    order = np.argsort(width * height)
    smallest, median, largest = (f"{width[i]}x{height[i]}" for i in (order[0], order[len(order) // 2], order[-1]))
    lines = [f"sizes: from {smallest} to {largest}, median {median}"]
    square = np.abs(np.log(aspect)) <= math.log(SAME_SHAPE)
    counts = {"square": square, "landscape": ~square & (aspect > 1), "portrait": ~square & (aspect < 1)}
    lines.append(f"shapes: {', '.join(f'{100 * share.mean():.0f} % {name}' for name, share in counts.items())}")
    lines.append(_fit_advice(aspect, square, fit))
    if small := int((short < resolution).sum()):
        text = f"{small} of {len(files)} images are smaller than {resolution} pixels on a side, and are enlarged"
        advice = "a lower model.resolution suits this set better" if small > len(files) / 2 else "larger originals help"
        lines.append(f"{text}: {advice}")
    if len(files) < FEW_IMAGES:
        lines.append(f"{len(files)} images are few: from about {FEW_IMAGES} on, a model makes more than copies of them")
    return lines


def _fit_advice(aspect: np.ndarray, square: np.ndarray, fit: str) -> str:
    if square.mean() >= MOST:
        return f"nearly all are square: data.fit={fit} does little"
    middle = float(np.median(aspect))
    same = np.abs(np.log(aspect / middle)) <= math.log(SAME_SHAPE)
    lost = f"{100 * np.median(1 - np.minimum(aspect, 1 / aspect)):.0f} %"
    if same.mean() >= MOST:
        return (
            f"nearly all have one shape, {middle:.2f} wide to 1 high: data.fit=squash keeps the whole of each, and "
            f"generated images can be stretched back; crop loses {lost} of each (now {fit})"
        )
    stretched = math.exp(np.quantile(np.abs(np.log(aspect)), 0.9))
    return (
        f"shapes differ: data.fit=squash distorts each in another way, a tenth of them {stretched:.1f} times and more; "
        f"crop keeps proportions and loses {lost} of the median image at its borders (now {fit})"
    )


def near_duplicates(images: np.ndarray) -> list[list[int]]:
    """Groups of two and more images of [N, R, R, C], by their rows, that are nearly the same or mirror images.

    The largest groups come first. Compared are copies of 16x16 pixels, each without its mean: the root of the mean
    squared difference, relative to the contrast, is at most ALIKE.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    small = np.concatenate([_small(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)])
    mirrored = small[:, :, ::-1].reshape(len(small), -1)
    small = small.reshape(len(small), -1)
    contrast = np.sqrt((small**2).mean(1)) + CONTRAST
    group = np.arange(len(small))  # of each image; merged block by block, since there may be as many pairs as N^2
    for start in range(0, len(small), CHUNK):
        own = small[start : start + CHUNK]
        limit = ALIKE**2 * contrast[start : start + CHUNK, None] * contrast[start:]
        for others in (small[start:], mirrored[start:]):
            squared = (own**2).mean(1)[:, None] + (others**2).mean(1) - 2 * own @ others.T / own.shape[1]
            rows, columns = np.nonzero(squared <= limit)
            ends = (group[rows + start], group[columns + start])
            _, merged = connected_components(coo_matrix((np.ones(len(rows), bool), ends), (len(small),) * 2), False)
            group = merged[group]
    groups = [np.flatnonzero(group == number).tolist() for number in np.flatnonzero(np.bincount(group) > 1)]
    return sorted(groups, key=len, reverse=True)


def _small(images: np.ndarray) -> np.ndarray:
    """Copies float32 [N, 16, 16, 3] of images [N, R, R, C], each without its mean."""
    colors = rgb(images)
    count, block = len(colors), colors.shape[1] // SIDE
    small = colors.reshape(count, SIDE, block, SIDE, block, 3).mean((2, 4), dtype=np.float32)
    return small - small.mean((1, 2, 3), keepdims=True)
