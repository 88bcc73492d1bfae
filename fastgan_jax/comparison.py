"""Perceptual distances between many pictures: uint8 in, numpy out, in chunks of fixed size."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.image_ops import resize_antialias, to_unit
from fastgan_jax.perceptual import compare, embed
from fastgan_jax.weights.perceptual_networks import NETWORKS, load_perceptual

CHUNK = 8  # pictures per device call
LARGEST_SIDE = 128  # pictures are compared at this side at most, as reconstructions are in training


class PictureDistance:
    """A perceptual network, ready to compare pictures.

    Attributes:
        measure: what the distance is called, such as "LPIPS (vgg)".
    """

    def __init__(self, name: str, params: dict[str, Any]):
        """Wraps the network `name` of `weights.perceptual_networks.NETWORKS` with its parameters."""
        self.measure = NETWORKS[name].measure
        self._backbone = NETWORKS[name].backbone
        self._params = jax.device_put(params)

    @classmethod
    def load(cls, name: str, path: str | None = None) -> "PictureDistance":
        """Finds the weights, see `load_perceptual`.

        Raises:
            UserError: if they cannot be had.
        """
        return cls(name, load_perceptual(name, path))

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of each picture from its partner: uint8 [N, H, W, C] twice -> float32 [N]."""
        chunks = zip(_chunks(first), _chunks(second), strict=True)
        parts = [np.asarray(_pairs(self._backbone, self._params, a, b))[:size] for (a, size), (b, _) in chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def matrix(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of every picture from every other: uint8 [M, H, W, C] and [N, H, W, C] -> float32 [M, N]."""
        result = np.zeros((len(first), len(second)), np.float32)
        for row, (a, rows) in enumerate(_chunks(first)):
            embedded = _embed(self._backbone, self._params, a)
            for column, (b, columns) in enumerate(_chunks(second)):
                block = np.asarray(_block(self._backbone, self._params, embedded, b))[:rows, :columns]
                result[row * CHUNK : row * CHUNK + rows, column * CHUNK : column * CHUNK + columns] = block
        return result


def rgb(images: np.ndarray) -> np.ndarray:
    """Pictures of 1, 3 or 4 channels as RGB: grey repeated, transparency on white; uint8 [N, H, W, 3]."""
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.float32) / 255
        return np.uint8(np.round(images[..., :3] * alpha + 255 * (1 - alpha)))
    return np.asarray(images)


def chunks_of(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Consecutive chunks as RGB, the last one padded with zeros, each with the number of pictures in it."""
    for start in range(0, len(images), size):
        chunk = rgb(images[start : start + size])
        padding = np.zeros((size - len(chunk), *chunk.shape[1:]), np.uint8)
        yield np.concatenate([chunk, padding]), len(chunk)


_chunks = partial(chunks_of, size=CHUNK)


@partial(jax.jit, static_argnums=0)
def _embed(backbone: str, params: dict, images: jax.Array) -> dict:
    pictures = to_unit(images)
    if pictures.shape[1] > LARGEST_SIDE:
        pictures = resize_antialias(pictures, LARGEST_SIDE)
    return embed(backbone, params, pictures)


@partial(jax.jit, static_argnums=0)
def _pairs(backbone: str, params: dict, first: jax.Array, second: jax.Array) -> jax.Array:
    return compare(params, _embed(backbone, params, first), _embed(backbone, params, second))


@partial(jax.jit, static_argnums=0)
def _block(backbone: str, params: dict, embedded: dict, second: jax.Array) -> jax.Array:
    """Distances of CHUNK embedded pictures from CHUNK pictures: [CHUNK, CHUNK]."""
    others = _embed(backbone, params, second)

    def from_one(one: dict) -> jax.Array:
        same = jax.tree.map(lambda row, many: jnp.broadcast_to(row[None], many.shape), one, others)
        return compare(params, same, others)

    return jax.lax.map(from_one, embedded)
