"""Projected GAN at 256x256 (Sauer et al. 2021, with FastGAN's generator): sharp images in a fraction of the iterations.

Command:   pip install 'fastgan_jax[projected]' && fastgan train /my/images --preset projected256
Hardware:  one GPU of 24 GB; by XLA's compiler for an H100 an iteration needs 19.6 GB beside the images, 3.8 with
           train.batch_size=8 and train.precision=bfloat16. projected_cpu is for CPUs. Not yet run to its end.
Settings:  its authors', except for what docs/fidelity.md lists. The discriminator sees features of an EfficientNet that
           was trained on ImageNet, so evaluate by another network too, and look at the images: heads may be doubled
           where features are perfect.
"""

import ml_collections

from fastgan_jax.configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the configuration."""
    config = base.get_config()
    config.model.discriminator = "projected"
    config.model.ngf = 128
    config.model.stages = "composite"
    config.model.output_bias = True
    config.model.output_tanh = False
    config.model.normalize_latent = True
    config.loss.reconstruction = "l1"  # of no effect without FastGAN's discriminator
    config.loss.smoothing = 0.0
    config.augment.policy = "color,translation,cutout"
    config.optim.beta1 = 0.0
    config.optim.beta2 = 0.99
    config.optim.ema_decay = 0.9978  # a half-life of 312 iterations
    config.train.batch_size = 64
    config.train.iterations = 20_000
    config.train.checkpoint_every = 1_000
    # Such runs can collapse after an early best, which these metrics find without a network that D shares.
    config.eval.every = 1_000
    config.eval.num_samples = 1_000
    config.eval.metrics = "layout,swd"
    config.eval.best_metric = "layout"
    return config
