"""What a training iteration consists of."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import optax

from fastgan_jax import losses
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator


@dataclass(frozen=True)
class Method:
    """What an iteration consists of: the networks, the optimiser and the options of the losses."""

    generator: Generator
    discriminator: Discriminator
    optimizer: optax.GradientTransformation  # of both networks
    distance: losses.Distance  # of a reconstruction from its target
    latent_size: int
    reconstruction_weight: float | None  # times the batch mean; None: the batch size, that is a sum over the batch
    relativistic: bool
    policy: str  # of the augmentation
    augment_probability: float
    augment_shared: bool
    resize: str  # "nearest" | "antialias": how D's small view and the targets are made from the full picture
    flip: bool
    ema_decay: float
    recompute: bool = False  # a network's activations in its backward pass, instead of keeping them until then


def recomputed(method: Method, function: Callable) -> Callable:
    """A pass through a network, repeated in the backward pass if the method says so."""
    return jax.checkpoint(function) if method.recompute else function
