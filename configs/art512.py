"""A thousand paintings or the like at 512x512, as the paper and its reference program train.

Command:   fastgan train /my/images --preset art512
Hardware:  one GPU of 8 GB or more; by XLA's compiler for an H100 an iteration needs 3.8 GB beside the images
           (docs/benchmarks.md).
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.model.resolution = 512
    return config
