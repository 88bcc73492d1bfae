"""Checkpoints like the reference program's, with random values, of networks for 64 pixels."""

import numpy as np

from fastgan_jax.interop import names
from fastgan_jax.interop.pytorch import expected_shapes
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

NZ = 3
WIDTH = 2


def module_of(net: str, resolution: int, width: int = WIDTH):
    return Generator(resolution, ngf=width) if net == "generator" else Discriminator(resolution, ndf=width)


def random_state_dict(net: str, resolution: int = 64, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """A state_dict with random values, batch norm's counters included, in the reference's order."""
    rng = np.random.default_rng(0)
    shapes = expected_shapes(net, module_of(net, resolution), NZ)
    return {
        tensor.key: np.zeros((), np.int64) if tensor.path is None else rng.random(shapes[tensor.key]).astype(dtype)
        for tensor in names.tensors(net, resolution)
    }


def adam_of(state_dict: dict[str, np.ndarray], net: str, updates: int = 7) -> dict:
    """A state_dict of Adam for the parameters of `state_dict`, the first of which never had a gradient."""
    keys = names.parameter_keys(net, 64)
    entries = {
        index: {"step": np.float32(updates), "exp_avg": state_dict[key] + 1, "exp_avg_sq": state_dict[key] + 2}
        for index, key in enumerate(keys)
        if index > 0
    }
    group = {"lr": 1e-4, "betas": (0.4, 0.99), "params": list(range(len(keys)))}
    return {"state": entries, "param_groups": [group]}
