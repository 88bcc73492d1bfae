"""The paper's setting at 1024x1024 on a card of 4 GB: bfloat16 activations, recomputed, in two micro-batches.

Command:   fastgan train /my/images --preset lowmem4gb
Hardware:  one GPU of 4 GB, of which JAX takes 3 GB. By XLA's compiler for a GTX 1650 an iteration needs 2.2 GB,
           besides what cuDNN needs for itself (docs/benchmarks.md); not yet run on such a card.
           XLA_PYTHON_CLIENT_MEM_FRACTION=0.9 in the environment lets JAX take more; train.accumulate=4 needs less.
Differs from lowmem8gb: of the batch of 8, four images at a time go through the networks, so batch norm sees four.
"""

import ml_collections

from fastgan_jax.configs import lowmem8gb


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = lowmem8gb.get_config()
    config.train.accumulate = 2
    return config
