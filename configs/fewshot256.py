"""A hundred images of one subject at 256x256: the few-shot setting of the paper (section 4.1), nothing to download.

Command:   fastgan train /my/images --preset fewshot256
Hardware:  one GPU of 6 GB or more; by XLA's compiler for an H100 an iteration needs 2.4 GB beside the images
           (docs/benchmarks.md).
Differs from the reference: reconstruction by mean absolute difference, which needs no pretrained network. For its
           perceptual loss add --config.loss.reconstruction=lpips, which fetches VGG-16 once.
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.loss.reconstruction = "l1"
    return config
