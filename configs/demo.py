"""Demonstration of five to ten minutes: a 64-pixel model of procedural images, no download.

Command:   fastgan train --preset demo
Hardware:  any; about five and a half minutes on two cores of one AMD EPYC, nine and a half on another (Zen 3, jax
           0.10.2); 0.3 to 0.5 s per iteration, 0.3 GB.
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.data.demo_images = 400
    config.model.resolution = 64
    config.model.ngf = 16
    config.model.ndf = 16
    config.model.nz = 32
    config.model.decoders = "big"
    config.model.output_tanh = True
    config.loss.reconstruction = "l1"
    config.augment.policy = ""  # so short a run does not memorize 400 images, and varies more without
    # Fifty times shorter than the paper's runs: larger steps, and an average over the last hundred iterations.
    config.optim.learning_rate = 1e-3
    config.optim.ema_decay = 0.99
    config.train.iterations = 1_000
    config.train.log_every = 20
    config.train.sample_every = 100
    config.train.checkpoint_every = 200
    return config
