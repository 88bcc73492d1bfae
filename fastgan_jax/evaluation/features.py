"""Feature vectors of images, on which generated and real sets are compared."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.resizing import resize_for_network
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.layouts import by_layer
from fastgan_jax.pretrained.networks import naming_what_is_here
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, PROJECTED_WEIGHTS
from fastgan_jax.utils.devices import in_full_precision, local_mesh
from fastgan_jax.utils.images import OverBatches, map_batches, rgb

CHUNK = 16  # images per device call


class FeatureExtractor:
    """A feature network with its weights and its resize convention.

    Attributes:
        description: network and convention, such as "inception, legacy resize"; part of every result.
        identity: hash of everything that the features depend on besides the images.
    """

    def __init__(self, name: str, resize: str, path: str | Path | None = None, *, discriminator: str = "fastgan"):
        """The network `name` of FEATURE_NETWORKS with weights from a local file, else the cache, else their publisher.

        `resize` is the convention, "legacy" or "clean"; `discriminator` that of the evaluated run, whose own network
        is a poor judge.

        Raises:
            UserError: if weights are not available; the line says which features can be used instead.
        """
        try:
            with naming_what_is_here(name, {other: net.files for other, net in FEATURE_NETWORKS.items()}):
                arrays = store.find(FEATURE_NETWORKS[name].weights, path)
        except UserError as error:
            first, *others = alternatives(discriminator)
            raise UserError(
                f"{error}; or set eval.feature_weights=FILE, or use eval.metrics=frechet,kid with "
                f"eval.best_metric=kid on eval.features={first} or {' or '.join(others)}, which is not FID"
            ) from None
        self._network, self._resize = FEATURE_NETWORKS[name], resize
        unit = self._network.unit_features
        self.description = features_in_words(name, resize, discriminator)
        digest = hashlib.sha256(f"{name}/{self._network.side}/{resize}{'/unit' if unit else ''}".encode())
        for key in sorted(arrays):
            digest.update(key.encode() + np.ascontiguousarray(arrays[key]).tobytes())
        self.identity = digest.hexdigest()
        self._params = jax.device_put(by_layer(arrays))
        self._apply = _compiled(self._network.features)
        self._on_all = OverBatches(self._apply, CHUNK, fixed=(self._params,))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of uint8 [N, H, W, C]: float32 [N, D]; an image's are the same whatever images come with it."""

        def resized(batch: np.ndarray) -> jax.Array:
            return resize_for_network(batch, self._network.side, self._resize)

        if local_mesh() is None:
            features = map_batches(lambda batch: self._apply(self._params, resized(batch)), CHUNK, rgb(images))
        else:
            features = self._on_all(map_batches(resized, CHUNK, rgb(images)))
        return scaled(features) if self._network.unit_features else features


@functools.cache
def _compiled(features: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A network's features as a program that is compiled once in a process."""
    return jax.jit(in_full_precision(features))


def features_in_words(name: str, resize: str, discriminator: str) -> str:
    """A feature network and its convention, such as "inception, legacy resize", and whether it is a run's own."""
    unit = ", unit length" if FEATURE_NETWORKS[name].unit_features else ""
    own = ", the discriminator's own network" if is_own_network(name, discriminator) else ""
    return f"{name}{unit}, {resize} resize{own}"


def is_own_network(name: str, discriminator: str) -> bool:
    """Whether a run's discriminator (model.discriminator) sees images through the feature network `name`."""
    return discriminator in ("projected", "both") and FEATURE_NETWORKS[name].weights == PROJECTED_WEIGHTS


def alternatives(discriminator: str) -> list[str]:
    """The networks to judge by where Inception cannot be had, the best first."""
    return [name for name in FEATURE_NETWORKS if name != "inception" and not is_own_network(name, discriminator)]


def scaled(features: np.ndarray) -> np.ndarray:
    """Features float32 [N, D], each scaled to mean square 1, so that x . y / D is a cosine; zero stays zero."""
    return features / np.maximum(np.sqrt((features**2).mean(1, keepdims=True)), np.finfo(np.float32).tiny)
