"""A projected GAN and FastGAN's discriminator together, at 256x256 on a CPU: recognizable images in 25 to 70 minutes.

Command:   pip install 'fastgan_jax[projected]' && fastgan train /my/images --preset projected_cpu
Hardware:  any; 1.1 GB; about 1.2 s per iteration on two cores of an AMD EPYC (28 November 2026, jax 0.10.2), 3.2 s on
           one core of an older one.
Differs from projected256: FastGAN's discriminator sees the whole image beside the projected ones, which have the
           smaller share in G's loss, since it learns layout and color first; an eighth of the width, batches of four,
           larger and then smaller steps, a shorter average, no augmentation but cutout and small shifts.
           docs/experiments.md, section 1, compares: eighth and ninth round, three seeds on 100 pandas.
Limits:    made for photographs, of one pose: on photographs of animals anywhere in the picture, heads get too many eyes
           (tenth round). On drawings (emoji faces, flags) D wins and G's images decay, or parts land anywhere;
           cpu128 puts those of emoji faces in place (docs/experiments.md).
"""

import ml_collections

from fastgan_jax.configs import base, projected256


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = projected256.get_config()
    config.model.discriminator = "both"
    config.loss.projected_weight = 0.3
    config.model.ngf = 16
    config.model.ndf = 16
    config.model.nz = 64
    config.augment.policy = "small_translation,cutout"
    config.optim.learning_rate = 5e-4
    config.optim.final_learning_rate = 2e-5
    config.optim.ema_decay = 0.993
    config.train.batch_size = 4
    config.train.iterations = 1_250
    config.train.log_every = 25
    config.train.sample_every = 125
    config.train.checkpoint_every = 125
    config.eval = base.get_config().eval  # none while it trains, which would take its time
    return config
