"""A hundred images at 128x128 on a CPU, in an evening: a narrow model, nothing to download.

Command:   fastgan train /my/images --preset cpu128
Hardware:  any; 1.6 GB. On two cores of an AMD EPYC 1.3 s per iteration, so three and a half hours for all (28 November
           2026, jax 0.10.2: fastgan benchmark --config cpu128 --iterations 6). It has not been run to its end.
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
