"""The smallest run that goes through everything: for tests and for a first look at the files of a run.

Command:   fastgan train --preset smoke
Hardware:  any; the images mean nothing.
"""

import ml_collections

from fastgan_jax.configs import demo


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = demo.get_config()
    config.data.demo_images = 20
    config.model.ngf = 4
    config.model.ndf = 4
    config.model.nz = 8
    config.augment.policy = "translation"
    config.train.iterations = 4
    config.train.batch_size = 4
    config.train.log_every = 1
    config.train.sample_every = 2
    config.train.checkpoint_every = 2
    config.train.num_samples = 4
    return config
