"""The paper's setting at 1024x1024 on a card of 8 GB: bfloat16 activations, recomputed block by block.

Command:   fastgan train /my/images --preset lowmem8gb
Hardware:  one GPU of 6 or 8 GB, of which JAX takes three quarters. By XLA's compiler for an RTX 2080 Ti an iteration
           needs 3.3 GB, and what cuDNN needs for itself (docs/benchmarks.md); not yet run on such a card.
Differs from art1024: rounding to bfloat16; images stream from the host. The method and its batch of 8 are the same.
"""

import ml_collections

from fastgan_jax.configs import art1024


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = art1024.get_config()
    config.train.precision = "bfloat16"
    config.train.remat = "blocks"
    config.data.resident = "false"
    return config
