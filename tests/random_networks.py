"""Perceptual networks with random weights, for tests of everything around them."""

import numpy as np

from fastgan_jax.models.lpips import BACKBONES
from fastgan_jax.pretrained.layouts import LPIPS_INPUT


def perceptual_params(network: str, seed: int = 0) -> dict:
    """Random parameters of the right scale, as `lpips.embed` takes them."""
    random = np.random.RandomState(seed)
    backbone = BACKBONES[network]

    def layer(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
        return {"kernel": np.float32(kernel), "bias": np.float32(random.normal(0, 0.1, shape[-1]))}

    return {
        "input": {name: np.float32(values) for name, values in LPIPS_INPUT.items()},
        "backbone": {name: layer(shape) for name, shape in backbone.kernels.items()},
        "heads": {depth: np.float32(random.uniform(0, 0.1, size)) for depth, size in backbone.channels.items()},
    }
