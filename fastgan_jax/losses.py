"""The losses: arrays in, scalar out, no models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

MARGIN_LOW, MARGIN_HIGH = 0.8, 1.0  # range of the random margins of the hinge


def margins(uniforms: jax.Array) -> jax.Array:
    """Margins of the hinge from uniform numbers in [0, 1): the reference smooths its labels this way."""
    return MARGIN_LOW + (MARGIN_HIGH - MARGIN_LOW) * uniforms


def discriminator_hinge(
    real: jax.Array, fake: jax.Array, real_margins: jax.Array, fake_margins: jax.Array, *, relativistic: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Hinge loss of D (paper, equation 3) on real and on generated pictures.

    Args:
        real: logits of real pictures, [B, L].
        fake: logits of generated pictures, [B, L].
        real_margins: margin m of each real logit, 1 in the paper, U(0.8, 1) in the reference.
        fake_margins: the same for the generated ones.
        relativistic: judge each logit relative to the mean logit of the other kind.

    Returns:
        Two scalars: mean relu(m - real) and mean relu(m + fake).
    """
    if relativistic:
        real, fake = real - fake.mean(), fake - real.mean()
    return jax.nn.relu(real_margins - real).mean(), jax.nn.relu(fake_margins + fake).mean()


def generator_loss(fake: jax.Array) -> jax.Array:
    """Loss of G (paper, equation 4): minus the mean logit of generated pictures [B, L]."""
    return -fake.mean()


def l1(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean absolute difference of each picture: [B, H, W, C] twice -> [B]."""
    return jnp.abs(prediction - target).mean((1, 2, 3))


def l2(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared difference of each picture: [B, H, W, C] twice -> [B]."""
    return jnp.square(prediction - target).mean((1, 2, 3))


@dataclass(frozen=True)
class Distance:
    """A distance between pictures in two steps, so that a picture compared several times is embedded once.

    Attributes:
        embed: (parameters, pictures [B, H, W, C]) -> arrays [B, ...], any tree of them.
        compare: (parameters, two such trees) -> [B].
    """

    embed: Callable[[Any, jax.Array], Any]
    compare: Callable[[Any, Any, Any], jax.Array]

    @classmethod
    def of_pictures(cls, function: Callable[[jax.Array, jax.Array], jax.Array]) -> "Distance":
        """A distance without parameters that compares the pictures themselves: [B, H, W, C] twice -> [B]."""
        return cls(lambda _, pictures: pictures, lambda _, first, second: function(first, second))


DISTANCES = {"l1": Distance.of_pictures(l1), "l2": Distance.of_pictures(l2)}
