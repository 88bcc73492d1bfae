"""Pretrained networks, ready to use: their parameters, and perceptual distances between many images."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.models.efficientnet import feature_kernel_shapes
from fastgan_jax.models.lpips import BACKBONES, compare, embed
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.layouts import by_layer
from fastgan_jax.pretrained.registry import PERCEPTUAL, PROJECTED_WEIGHTS
from fastgan_jax.utils.devices import in_full_precision
from fastgan_jax.utils.images import OverBatches, padded_batches, resize_antialias, rgb, to_unit

CHUNK = 8  # images per device call
ROWS = 64  # images whose features are held at once; 8 MB each for VGG at 128 pixels
LARGEST_SIDE = 128  # images are compared at this side at most, as reconstructions are in training


@contextlib.contextmanager
def naming_what_is_here(name: str, networks: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
    """Adds to a UserError which other networks, each given with its files, are in the cache."""
    try:
        yield
    except UserError as error:
        kept = {other: all(map(store.local_path, files)) for other, files in networks.items()}
        here = [other for other, is_kept in kept.items() if is_kept and networks[other] and other != name]
        raise UserError(f"{error} (here already: {', '.join(here)})" if here else str(error)) from None


def load_perceptual(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """The parameters of the network `name` of PERCEPTUAL, as `lpips.embed` takes them: float32.

    The backbone's weights come from the local file `path`; None: from the cache, else from their publisher.

    Raises:
        UserError: if weights are not available; the line says where they are published, and which networks are here.
    """
    network = PERCEPTUAL[name]
    if not network.files:
        shift, scale = np.zeros(3, np.float32), np.ones(3, np.float32)
        channels = BACKBONES[network.backbone].channels.items()
        heads = {depth: np.full(count, 1 / count, np.float32) for depth, count in channels}
        return {"input": {"shift": shift, "scale": scale}, "backbone": {}, "heads": heads}
    with naming_what_is_here(name, {other: entry.files for other, entry in PERCEPTUAL.items()}):
        layers = by_layer(store.find(network.weights, path))
        if network.heads is not None:
            heads = store.find(network.heads)
        else:  # of two vectors of length 1, the squared difference is twice 1 - cosine
            depths = BACKBONES[network.backbone].channels
            heads = {depth: np.full(channels, 0.5 / len(depths), np.float32) for depth, channels in depths.items()}
    return {"input": layers.pop("input"), "backbone": layers, "heads": heads}


def load_efficientnet(path: str | Path | None = None) -> dict[str, Any]:
    """The layers of EfficientNet-Lite0 that `efficientnet.feature_maps` uses: float32.

    Weights come from the local file `path`; None: from the cache or an installed package.

    Raises:
        UserError: if they are not available; the line says how to get them.
    """
    layers = by_layer(store.find(PROJECTED_WEIGHTS, path))
    return {name: layers[name] for name in feature_kernel_shapes()}


class PerceptualDistance:
    """A perceptual network that compares images on the host, in chunks of fixed size.

    Attributes:
        measure: what the distance is called, such as "LPIPS (vgg)".
    """

    def __init__(self, name: str, params: dict[str, Any]):
        """Wraps the network `name` of PERCEPTUAL with what `load_perceptual` gives."""
        self.measure, self._backbone = PERCEPTUAL[name].measure, PERCEPTUAL[name].backbone
        self._params = jax.device_put(params)

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of each image from its partner: uint8 [N, H, W, C] twice -> float32 [N]."""
        pairs = OverBatches(_pairs, CHUNK, static=(self._backbone,), fixed=(self._params,))
        return pairs(rgb(first), rgb(second))

    def matrix(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of every image from every other: uint8 [M, H, W, C] and [N, H, W, C] -> float32 [M, N]."""
        result = np.zeros((len(first), len(second)), np.float32)
        embed_batch = partial(_embed, self._backbone, self._params)
        for start in range(0, len(first), ROWS):
            held = [(embed_batch(rgb(a)), n) for (a,), n in padded_batches(CHUNK, first[start : start + ROWS])]
            for column, ((b,), columns) in enumerate(padded_batches(CHUNK, second)):
                others = embed_batch(rgb(b))
                for row, (embedded, rows) in enumerate(held):
                    block = np.asarray(_block(self._params, embedded, others))[:rows, :columns]
                    top, left = start + row * CHUNK, column * CHUNK
                    result[top : top + rows, left : left + columns] = block
        return result


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
