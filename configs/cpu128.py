"""A hundred images at 128x128 on a CPU in half an hour: a narrow model, nothing to download; also for drawings.

Command:   fastgan train /my/images --preset cpu128
Hardware:  any; 1.6 GB. 30 minutes on one core of an AMD EPYC beside another training (29 November 2026, jax 0.10.2).
Differs from fewshot256: half the resolution and half the channels, so a quarter of the time per iteration; larger and
           then smaller steps; adaptive augmentation that keeps pace with so short a run; an average that begins short,
           so that the first grids show what G draws by then. docs/experiments.md, section 1, seventh round: g3.
Limits:    chosen by one run, on emoji faces. Much longer ones have not been tried with it.
"""

import ml_collections

from fastgan_jax.configs import fewshot256


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = fewshot256.get_config()
    config.model.resolution = 128
    config.model.ngf = 32
    config.model.ndf = 32
    config.augment.target = 0.6
    config.augment.probability = 0.0
    config.augment.adaptation = 10_000
    config.optim.learning_rate = 5e-4
    config.optim.final_learning_rate = 5e-5
    config.optim.ema_decay = 0.998
    config.optim.ema_warmup = True
    config.train.iterations = 900
    config.train.log_every = 20
    config.train.sample_every = 100
    config.train.checkpoint_every = 150
    return config
