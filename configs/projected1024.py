"""Projected GAN at 1024x1024: the settings of projected256 with FastGAN's own discriminator beside the projected ones.

Command:   pip install 'fastgan_jax[projected]' && fastgan train /my/images --preset projected1024
Hardware:  one GPU of 24 GB, by XLA's compiler: 18.8 GB for an H100, beside the images. For smaller ones lower
           train.batch_size or set train.accumulate. Not yet run.
Differs from the authors: users report that features alone let patterns repeat across large images, so that FastGAN's
           discriminator judges the full image too (model.discriminator=both).
"""

import ml_collections

from fastgan_jax.configs import projected256


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = projected256.get_config()
    config.model.resolution = 1024
    config.model.discriminator = "both"
    config.train.precision = "bfloat16"
    config.train.batch_size = 16
    return config
