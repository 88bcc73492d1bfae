"""A hundred to a few hundred images at 256x256, nothing to download: fewshot256 with adaptive augmentation.

Command:   fastgan train /my/images --preset fewshot
Hardware:  as fewshot256.
Differs from fewshot256: augmentation begins at no image, and reaches as many as overfitting of the discriminator needs
           (Karras et al. 2020, section 3.1), and the average begins short.
Limits:    an experiment. In short runs of a narrow model it is far ahead of fewshot256, most of it by the average. The
           augmentation by itself passes its planned test at 64 pixels, but not at 128, where flags are slightly better
           without it (docs/experiments.md). Long runs are not yet compared.
"""

import ml_collections

from fastgan_jax.configs import fewshot256


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = fewshot256.get_config()
    config.augment.target = 0.6
    config.augment.probability = 0.0
    config.optim.ema_warmup = True
    return config
