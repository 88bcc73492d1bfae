"""Perceptual distances between many images: uint8 in, numpy out, in chunks of fixed size."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.models.lpips import compare, embed
from fastgan_jax.pretrained.networks import PERCEPTUAL, load_perceptual
from fastgan_jax.utils.devices import in_full_precision
from fastgan_jax.utils.images import map_batches, padded_batches, resize_antialias, rgb, to_uint8, to_unit

CHUNK = 8  # images per device call
ROWS = 64  # images whose features are held at once; 8 MB each for VGG at 128 pixels
NUM_COMPARED = 64  # generated or real images whose neighbors are sought, and pairs, in means over a set
MOST_SEARCHED = 1000  # real images among which they are sought
CROP = 0.8  # of height and width, around the center: the paper's appendix E
LARGEST_SIDE = 128  # images are compared at this side at most, as reconstructions are in training


class PerceptualDistance:
    """A perceptual network, ready to compare images.

    Attributes:
        measure: what the distance is called, such as "LPIPS (vgg)".
    """

    def __init__(self, name: str, params: dict[str, Any]):
        """Wraps the network `name` of `pretrained.networks.PERCEPTUAL` with its parameters."""
        self.measure = PERCEPTUAL[name].measure
        self._backbone = PERCEPTUAL[name].backbone
        self._params = jax.device_put(params)

    @classmethod
    def load(cls, name: str, path: str | None = None) -> "PerceptualDistance":
        """Finds the weights, see `load_perceptual`.

        Raises:
            UserError: if they cannot be had.
        """
        return cls(name, load_perceptual(name, path))

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of each image from its partner: uint8 [N, H, W, C] twice -> float32 [N]."""
        return map_batches(partial(_pairs, self._backbone, self._params), CHUNK, rgb(first), rgb(second))

    def matrix(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of every image from every other: uint8 [M, H, W, C] and [N, H, W, C] -> float32 [M, N]."""
        result = np.zeros((len(first), len(second)), np.float32)
        embed_batch = partial(_embed, self._backbone, self._params)
        for start in range(0, len(first), ROWS):
            held = [(embed_batch(a), n) for (a,), n in padded_batches(CHUNK, rgb(first[start : start + ROWS]))]
            for column, ((b,), columns) in enumerate(padded_batches(CHUNK, rgb(second))):
                others = embed_batch(b)
                for row, (embedded, rows) in enumerate(held):
                    block = np.asarray(_block(self._params, embedded, others))[:rows, :columns]
                    top, left = start + row * CHUNK, column * CHUNK
                    result[top : top + rows, left : left + columns] = block
        return result


def diversity(distance: PerceptualDistance, images: np.ndarray) -> float:
    """Mean perceptual distance between the images of disjoint pairs of uint8 [M, H, W, C]; NaN without pairs."""
    half = len(images) // 2
    return float(distance.pairs(images[:half], images[half : 2 * half]).mean()) if half else math.nan


def mean_nearest(distance: PerceptualDistance, images: np.ndarray, real: np.ndarray, *, mirrored: bool) -> float:
    """Mean distance of images from the nearest of `searched_of(real)`.

    Args:
        distance: perceptual.
        images: uint8 [M, H, W, C].
        real: uint8 [N, H, W, C].
        mirrored: whether mirror images count too, as a generator trained with data.flip copies them as well.
    """
    searched = searched_of(real)
    nearest = distance.matrix(images, searched).min(1)
    if mirrored:
        nearest = np.minimum(nearest, distance.matrix(mirror(images), searched).min(1))
    return float(nearest.mean())


def real_nearness(distance: PerceptualDistance, real: np.ndarray, *, mirrored: bool) -> dict[str, float]:
    """How near real images come to each other and to almost-copies of themselves (paper, appendix E and table 8).

    Args:
        distance: perceptual.
        real: uint8 [N, H, W, C]; up to 64 images among `searched_of(real)` are compared.
        mirrored: as for `mean_nearest`; an image's own mirror image is no other one, nor is an exact copy of that.

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
    return np.linspace(0, searched - 1, min(searched, NUM_COMPARED)).round().astype(int)


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


@partial(jax.jit, static_argnums=0)
@in_full_precision
def _embed(backbone: str, params: dict, images: jax.Array) -> dict:
    images = to_unit(images)
    if images.shape[1] > LARGEST_SIDE:
        images = resize_antialias(images, LARGEST_SIDE)
    return embed(backbone, params, images)


@partial(jax.jit, static_argnums=0)
@in_full_precision
def _pairs(backbone: str, params: dict, first: jax.Array, second: jax.Array) -> jax.Array:
    return compare(params, _embed(backbone, params, first), _embed(backbone, params, second))


@jax.jit
@in_full_precision
def _block(params: dict, embedded: dict, others: dict) -> jax.Array:
    """Distances of CHUNK embedded images from CHUNK others: [CHUNK, CHUNK]."""

    def from_one(one: dict) -> jax.Array:
        same = jax.tree.map(lambda row, many: jnp.broadcast_to(row[None], many.shape), one, others)
        return compare(params, same, others)

    return jax.lax.map(from_one, embedded)
