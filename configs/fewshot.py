"""A hundred to a few hundred images at 256x256, nothing to download: fewshot256 with adaptive augmentation.

Command:   fastgan train /my/images --preset fewshot
Hardware:  as fewshot256.
Differs from fewshot256: augmentation begins at no image, and reaches as many as overfitting of the discriminator needs
           (Karras et al. 2020, section 3.1), and the average begins short.
Evidence:  short runs of a narrow model on pandas, emoji faces and flags, at 64 and 128 pixels (docs/experiments.md,
           section 3): far ahead of fewshot256, most of it by the average; with the augmentation ahead of that average
           alone.
Limits:    long runs are not yet compared.
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
