"""Feature vectors of images, on which generated and real sets are compared."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics import inception
from fastgan_jax.metrics.resizing import resize_for_network
from fastgan_jax.models.lpips import pooled_features
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import Arrays
from fastgan_jax.pretrained.layouts import by_layer
from fastgan_jax.utils.devices import in_full_precision
from fastgan_jax.utils.images import map_batches, rgb

CHUNK = 16  # images per device call


@dataclass(frozen=True)
class FeatureNetwork:
    """A network whose features judge images.

    Attributes:
        weights: a name of the registry.
        side: of its input in pixels.
        apply: (parameters by layer, images [B, side, side, 3] in [-1, 1]) -> [B, D].
    """

    weights: str
    side: int
    apply: Callable[[dict[str, Any], jax.Array], jax.Array]


FEATURE_NETWORKS = {
    "inception": FeatureNetwork("inception", 299, inception.features),
    "squeeze": FeatureNetwork("squeezenet1_1", 224, partial(pooled_features, "squeeze")),
    "squeeze_caffe": FeatureNetwork("squeezenet_caffe", 224, partial(pooled_features, "squeeze")),
}


class FeatureExtractor:
    """A feature network with its weights and its resize convention.

    Attributes:
        description: network and convention, such as "inception, legacy resize"; part of every result.
        identity: hash of everything that the features depend on besides the images.
    """

    def __init__(self, name: str, resize: str, arrays: Arrays):
        """Wraps the network `name` of FEATURE_NETWORKS, with the resize convention "legacy" or "clean"."""
        self._network, self._resize = FEATURE_NETWORKS[name], resize
        self.description = f"{name}, {resize} resize"
        digest = hashlib.sha256(f"{name}/{self._network.side}/{resize}".encode())
        for key in sorted(arrays):
            digest.update(key.encode() + np.ascontiguousarray(arrays[key]).tobytes())
        self.identity = digest.hexdigest()
        self._params = jax.device_put(by_layer(arrays))
        self._apply = jax.jit(in_full_precision(self._network.apply))

    @classmethod
    def load(cls, name: str, resize: str, path: str | Path | None = None) -> "FeatureExtractor":
        """Finds the weights: in a local file, else the cache, else at their publisher.

        Raises:
            UserError: if they cannot be had; the line says what to judge by instead.
        """
        weights = FEATURE_NETWORKS[name].weights
        try:
            arrays = store.find(weights) if path is None else store.read_file(path, weights)
        except UserError as error:
            others = [
                other
                for other in FEATURE_NETWORKS
                if other != name and store.cached_path(FEATURE_NETWORKS[other].weights).exists()
            ]
            instead = f" (here already: {', '.join(others)})" if others else ""
            raise UserError(
                f"{error}; or set eval.feature_weights=FILE, or judge by eval.metrics=frechet,kid with "
                f"eval.best_metric=kid on eval.features=squeeze or squeeze_caffe{instead}, which are no FID"
            ) from None
        return cls(name, resize, arrays)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of uint8 [N, H, W, C]: float32 [N, D]; an image's are the same whatever images come with it."""

        def of_batch(batch: np.ndarray) -> jax.Array:
            return self._apply(self._params, resize_for_network(batch, self._network.side, self._resize))

        return map_batches(of_batch, CHUNK, rgb(images))
