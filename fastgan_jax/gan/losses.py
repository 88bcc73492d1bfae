"""The losses: arrays in, scalar out. To add one, write a function and enter it in a registry below."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.models import lpips


def margins(uniforms: jax.Array, smoothing: float) -> jax.Array:
    """Margins of the hinge, uniform from 1 - smoothing to 1, from uniform numbers in [0, 1).

    The paper's margin is 1, a smoothing of 0; the reference smooths by 0.2.
    """
    return (1 - smoothing) + smoothing * uniforms


def hinge(
    real: jax.Array, fake: jax.Array, real_margins: jax.Array, fake_margins: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Hinge loss of D (paper, equation 3) on real and on generated images.

    Args:
        real: logits of real images, [B, L].
        fake: logits of generated images, [B, L].
        real_margins: margin m of each real logit, 1 in the paper, U(0.8, 1) in the reference.
        fake_margins: the same for the generated ones.

    Returns:
        Two scalars: mean relu(m - real) and mean relu(m + fake).
    """
    return jax.nn.relu(real_margins - real).mean(), jax.nn.relu(fake_margins + fake).mean()


def relativistic_hinge(
    real: jax.Array, fake: jax.Array, real_margins: jax.Array, fake_margins: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`hinge` of each logit relative to the mean logit of the other kind (Jolicoeur-Martineau 2019)."""
    return hinge(real - fake.mean(), fake - real.mean(), real_margins, fake_margins)


# loss.adversarial: D's loss (logits of real and of generated images, their margins) -> one scalar for each kind
ADVERSARIAL = {"hinge": hinge, "relativistic_hinge": relativistic_hinge}


def generator_loss(fake: jax.Array) -> jax.Array:
    """Loss of G (paper, equation 4): minus the mean logit of generated images [B, L]."""
    return -fake.mean()


def l1(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean absolute difference of each image: [B, H, W, C] twice -> [B]."""
    return jnp.abs(first - second).mean((1, 2, 3))


def l2(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean squared difference of each image: [B, H, W, C] twice -> [B]."""
    return jnp.square(first - second).mean((1, 2, 3))


@dataclass(frozen=True)
class Distance:
    """A distance between images in two steps, so that an image compared several times is embedded once.

    Attributes:
        embed: (parameters, images [B, H, W, C]) -> arrays [B, ...], any tree of them.
        compare: (parameters, two such trees) -> [B].
    """

    embed: Callable[[Any, jax.Array], Any]
    compare: Callable[[Any, Any, Any], jax.Array]

    @classmethod
    def of_images(cls, function: Callable[[jax.Array, jax.Array], jax.Array]) -> "Distance":
        """A distance without parameters that compares the images themselves: [B, H, W, C] twice -> [B]."""
        return cls(lambda _, images: images, lambda _, first, second: function(first, second))

    @classmethod
    def lpips(cls, backbone: str, dtype: jnp.dtype | None = None) -> "Distance":
        """LPIPS on a network of `lpips.BACKBONES`, computing in `dtype` (None: that of the parameters)."""
        return cls(partial(lpips.embed, backbone, dtype=dtype), lpips.compare)

    def __call__(self, params: Any, images: jax.Array, target: Any) -> jax.Array:
        """Distance [B] of images [B, H, W, C] from what `embed` made of their targets."""
        return self.compare(params, self.embed(params, images), target)


# loss.reconstruction: (backbone, dtype) -> the distance; those without a network ignore both
RECONSTRUCTION: dict[str, Callable[[str, jnp.dtype | None], Distance]] = {
    "lpips": Distance.lpips,
    "l1": lambda backbone, dtype: Distance.of_images(l1),
    "l2": lambda backbone, dtype: Distance.of_images(l2),
}
