"""A hundred images at 128x128 on a CPU, in an evening: a narrow model, nothing to download.

Command:   fastgan train /my/images --preset cpu128
Hardware:  any; 1 GB. On two cores of a server about 1.2 s per iteration, three and a half hours in all; the first grids
           on which the images take form come after some twenty minutes.
Differs from fewshot256: half the resolution and half the channels, so a quarter of the time per iteration; a fifth of
           the iterations, with larger steps.
"""

import ml_collections

from fastgan_jax.configs import fewshot256


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = fewshot256.get_config()
    config.model.resolution = 128
    config.model.ngf = 32
    config.model.ndf = 32
    config.optim.learning_rate = 5e-4
    config.optim.ema_decay = 0.998
    config.train.iterations = 10_000
    config.train.log_every = 20
    config.train.sample_every = 100
    config.train.checkpoint_every = 500
    return config
