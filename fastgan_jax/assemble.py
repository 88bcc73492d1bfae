"""The training method that a configuration describes, and the pretrained parameters that it needs."""

from typing import Any

import optax

from fastgan_jax import losses
from fastgan_jax.errors import UserError
from fastgan_jax.method import Method
from fastgan_jax.models.build import PRECISIONS, build_discriminator, build_generator, forms_from_config
from fastgan_jax.perceptual import perceptual_distance
from fastgan_jax.weights.perceptual_networks import NETWORKS, load_perceptual


def method_from_config(config: Any) -> Method:
    """Networks, optimiser and losses of a configuration (see configs/base.py)."""
    computing = (config.train.precision, config.train.remat != "none", forms_from_config(config.train))
    optim = config.optim
    return Method(
        generator=build_generator(config.model, *computing),
        discriminator=build_discriminator(config.model, *computing),
        optimizer=optax.adam(optim.learning_rate, b1=optim.beta1, b2=optim.beta2, eps=1e-8),
        distance=distance_from_config(config.loss, config.train.precision),
        latent_size=config.model.nz,
        reconstruction_weight=config.loss.reconstruction_weight,
        relativistic=config.loss.adversarial == "relativistic_hinge",
        policy=config.augment.policy,
        augment_probability=config.augment.probability,
        augment_shared=config.augment.shared,
        resize=config.model.resize,
        flip=config.data.flip,
        ema_decay=config.optim.ema_decay,
        recompute=config.train.remat == "full",
    )


def distance_from_config(loss: Any, precision: str = "float32") -> losses.Distance:
    """The distance of a reconstruction from its target; that of lpips computes in `precision`."""
    if loss.reconstruction != "lpips":
        return losses.DISTANCES[loss.reconstruction]
    return perceptual_distance(NETWORKS[loss.perceptual_net].backbone, PRECISIONS[precision])


def pretrained_from_config(config: Any) -> dict[str, Any] | None:
    """The parameters of the distance: of the perceptual network for lpips, None for the others.

    Raises:
        UserError: if weights are needed that cannot be had; the line says where they are published and what can be
            done without.
    """
    if config.loss.reconstruction != "lpips" or not config.model.decoders:
        return None
    try:
        return load_perceptual(config.loss.perceptual_net, config.loss.perceptual_weights)
    except UserError as error:
        raise UserError(
            f"{error}; or set loss.perceptual_weights=FILE or another loss.perceptual_net, or use "
            "loss.reconstruction=l1, which needs no weights"
        ) from None
