"""A thousand paintings or the like at 1024x1024: the paper's own setting (section 4.1).

Command:   fastgan train /my/images --preset art1024
Hardware:  one GPU; the paper's program took 10 GB and 1.7 hours per 10,000 iterations on an RTX 2080 Ti (its Table 1).
           Here an iteration needs 5.3 GB beside the images by XLA's compiler for an H100 (docs/benchmarks.md); for less
           see lowmem8gb and lowmem4gb.
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.model.resolution = 1024
    return config
