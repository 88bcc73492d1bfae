"""Perceptual networks by the names that configurations use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.models.lpips import BACKBONES
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import Arrays
from fastgan_jax.pretrained.layouts import by_layer


@dataclass(frozen=True)
class PerceptualNetwork:
    """What a perceptual network consists of.

    Attributes:
        backbone: a name of `perceptual.BACKBONES`.
        weights: a name of the registry.
        heads: a name of the registry; None: all channels count the same, so that the distance is 1 - cosine, averaged
            over positions and depths, and not LPIPS.
        measure: what its distance is called.
    """

    backbone: str
    weights: str
    heads: str | None
    measure: str


PERCEPTUAL = {
    "vgg": PerceptualNetwork("vgg", "vgg16", "lpips_vgg", "LPIPS (vgg)"),
    "squeeze": PerceptualNetwork("squeeze", "squeezenet1_1", "lpips_squeeze", "LPIPS (squeeze)"),
    "squeeze_caffe": PerceptualNetwork(
        "squeeze", "squeezenet_caffe", None, "cosine distance (squeeze_caffe), not LPIPS"
    ),
}


def load_perceptual(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """The parameters of a perceptual network, as `perceptual.embed` takes them.

    Args:
        name: of PERCEPTUAL.
        path: a local file with the backbone's weights; None: the cache, else a download.

    Returns:
        {"input", "backbone", "heads"}, float32 arrays.

    Raises:
        UserError: if weights cannot be had; the line says where they are published, and which networks are here.
    """
    network = PERCEPTUAL[name]
    try:
        arrays = store.find(network.weights) if path is None else store.read_file(path, network.weights)
        heads = _heads(network)
    except UserError as error:
        here = [other for other in PERCEPTUAL if other != name and _is_here(PERCEPTUAL[other])]
        raise UserError(f"{error} (here already: {', '.join(here)})" if here else str(error)) from None
    layers = by_layer(arrays)
    return {"input": layers.pop("input"), "backbone": layers, "heads": heads}


def _is_here(network: PerceptualNetwork) -> bool:
    """Whether everything that a network consists of is in the cache."""
    return all(store.cached_path(part).exists() for part in (network.weights, network.heads) if part is not None)


def _heads(network: PerceptualNetwork) -> Arrays:
    if network.heads is not None:
        return store.find(network.heads)
    depths = BACKBONES[network.backbone].channels
    # Of two vectors of length 1, the squared difference is twice 1 - cosine.
    return {depth: np.full(channels, 0.5 / len(depths), np.float32) for depth, channels in depths.items()}
