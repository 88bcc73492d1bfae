"""The training method that a configuration describes."""

from typing import Any

import optax

from fastgan_jax import losses
from fastgan_jax.errors import UserError
from fastgan_jax.models.build import build_discriminator, build_generator
from fastgan_jax.train_step import Method


def method_from_config(config: Any) -> Method:
    """Networks, optimiser and losses of a configuration (see configs/base.py).

    Raises:
        UserError: if the loss needs pretrained weights that cannot be had.
    """
    remat = config.train.remat == "blocks"
    optim = config.optim
    return Method(
        generator=build_generator(config.model, config.train.precision, remat),
        discriminator=build_discriminator(config.model, config.train.precision, remat),
        optimizer=optax.adam(optim.learning_rate, b1=optim.beta1, b2=optim.beta2, eps=1e-8),
        distance=distance_from_config(config.loss),
        latent_size=config.model.nz,
        reconstruction_weight=config.loss.reconstruction_weight,
        relativistic=config.loss.adversarial == "relativistic_hinge",
        policy=config.augment.policy,
        augment_probability=config.augment.probability,
        augment_shared=config.augment.shared,
        resize=config.model.resize,
        flip=config.data.flip,
        ema_decay=config.optim.ema_decay,
    )


def distance_from_config(loss: Any) -> losses.Distance:
    """The distance of a reconstruction from its target, [B, H, W, C] twice -> [B].

    Raises:
        UserError: for lpips, whose network this version does not have yet.
    """
    if loss.reconstruction not in losses.DISTANCES:
        raise UserError(
            f"loss.reconstruction={loss.reconstruction} needs a pretrained network (loss.perceptual_net="
            f"{loss.perceptual_net}), which this version cannot load yet: use --config.loss.reconstruction=l1"
        )
    return losses.DISTANCES[loss.reconstruction]
