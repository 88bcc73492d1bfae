"""The averaged generator's variables as safetensors: plain arrays under dotted names."""

import json

import numpy as np
from flax import traverse_util

from fastgan_jax.errors import UserError
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.runs.config import without_paths


def safetensors_bytes(sampler: Sampler) -> bytes:
    """All variables of the averaged generator, float32, in the layouts of this package.

    Names are the collection and the path in it: params.up_8.conv_0.kernel [3, 3, in, out],
    batch_stats.initial.norm.mean [C], spectral.to_big.u [out] and so on. The metadata holds "format" ("fastgan_jax"),
    "step", and "config", the run's configuration as JSON without paths of this machine ({} if there is none).

    Raises:
        UserError: if the package safetensors is missing.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise UserError("--format safetensors needs the package safetensors: pip install 'fastgan_jax[onnx]'") from None
    leaves = traverse_util.flatten_dict(sampler.variables, sep=".")
    config = json.dumps(without_paths(sampler.config.to_dict()) if sampler.config else {})
    metadata = {"format": "fastgan_jax", "step": str(sampler.step), "config": config}
    return save({name: np.ascontiguousarray(leaf) for name, leaf in leaves.items()}, metadata)
