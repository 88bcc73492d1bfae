"""The paper's setting at 1024x1024 on a card of 4 GB: bfloat16 activations, recomputed, in two micro-batches.

Command:   python -m fastgan_jax.main --config configs/lowmem4gb.py --config.data.path=/my/images
Hardware:  one GPU of 4 GB. By its trace an iteration keeps 1.7 GB, and 1.0 GB in the perceptual network, besides what
           convolutions need for themselves (docs/benchmarks.md); not yet run on such a card.
Differs from art1024: rounding to bfloat16; pictures stream from the host. Should it not fit,
           --config.train.accumulate=2 halves what depends on the batch (batch norm then sees four pictures at a time).
"""

import ml_collections

from configs import lowmem8gb


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = lowmem8gb.get_config()
    config.train.accumulate = 2
    config.data.resident = "false"
    return config
