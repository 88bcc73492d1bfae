"""Metrics from perceptual distances: how diverse samples are, and how near they come to the real images.

A `distance` here is any object with two methods of images uint8 [N, H, W, C]: `pairs(a, b)` gives the distance of each
image of `a` from its partner in `b`, [N]; `matrix(a, b)` that of every image of `a` from every one of `b`, [M, N].
"""

import math
from typing import Any

import numpy as np

from fastgan_jax.utils.images import evenly_spread, resize_antialias, to_uint8, to_unit

NUM_COMPARED = 64  # pairs, and images whose nearest real image is searched for, in means over a set
MOST_SEARCHED = 1000  # real images among which it is searched for
CROP = 0.8  # of height and width, around the center: the paper's appendix E


def diversity(distance: Any, images: np.ndarray) -> float:
    """Mean distance between the images of disjoint pairs of uint8 [M, H, W, C]; NaN without pairs.

    The pairs are drawn, from a fixed seed, since images of several classes come in turns.
    """
    half, order = len(images) // 2, np.random.RandomState(0).permutation(len(images))
    return float(distance.pairs(images[order[:half]], images[order[half : 2 * half]]).mean()) if half else math.nan


def mean_nearest(distance: Any, images: np.ndarray, real: np.ndarray, *, mirrored: bool) -> float:
    """Mean distance of images, uint8 [M, H, W, C], from the nearest of `searched_of(real)`, uint8 [N, H, W, C].

    `mirrored`: whether mirror images count too, as a generator trained with data.flip copies them as well.
    """
    searched = searched_of(real)
    nearest = distance.matrix(images, searched).min(1)
    if mirrored:
        nearest = np.minimum(nearest, distance.matrix(mirror(images), searched).min(1))
    return float(nearest.mean())


def real_nearness(distance: Any, real: np.ndarray, *, mirrored: bool) -> dict[str, float]:
    """How near real images come to each other and to almost-copies of themselves (paper, appendix E and table 8).

    Up to NUM_COMPARED images among `searched_of(real)` are compared. `mirrored` is as for `mean_nearest`; an image's
    own mirror image is not another image, nor is an exact copy of that.

    Returns:
        Mean distances: "nearest_real" of a real image from its nearest other one, NaN if there is no other;
        "nearest_flipped" and "nearest_cropped" of a real image from itself mirrored, and from its central 0.8 crop:
        what an almost-copy would measure.
    """
    searched = searched_of(real)
    rows = compared_rows(len(searched))
    compared = np.asarray(searched[rows])
    among_real = distance.matrix(compared, searched)
    if mirrored:
        across = distance.matrix(mirror(compared), searched)
        across[np.arange(len(rows)), rows] = np.inf
        among_real = np.minimum(among_real, np.where(across == 0, np.inf, across))
    among_real[np.arange(len(rows)), rows] = np.inf
    return {
        "nearest_flipped": float(distance.pairs(compared, mirror(compared)).mean()),
        "nearest_cropped": float(distance.pairs(compared, central_crop(compared)).mean()),
        "nearest_real": float(among_real.min(1).mean()) if len(searched) > 1 else math.nan,
    }


def searched_of(real: np.ndarray) -> np.ndarray:
    """Every k-th of real images [N, H, W, C], so that they are at most MOST_SEARCHED: of all classes and folders."""
    return real[:: math.ceil(len(real) / MOST_SEARCHED)]


def compared_rows(searched: int) -> np.ndarray:
    """Rows of up to NUM_COMPARED among so many images, evenly spread."""
    return evenly_spread(searched, NUM_COMPARED)


def some_of(real: np.ndarray, most: int) -> np.ndarray:
    """Up to `most` of real images [N, H, W, C], in random order, always the same."""
    return np.asarray(real[np.random.RandomState(0).permutation(len(real))[:most]])


def mirror(images: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] with left and right exchanged."""
    return images[:, :, ::-1]


def central_crop(images: np.ndarray) -> np.ndarray:
    """The central 0.8 of the height and width of images, uint8 [N, S, S, C], enlarged to their size."""
    side = images.shape[1]
    margin = round(side * (1 - CROP) / 2)
    inner = images[:, margin : side - margin, margin : side - margin]
    return np.asarray(to_uint8(resize_antialias(to_unit(inner), side)))
