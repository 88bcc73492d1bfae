"""The losses: arrays in, scalar out. To add one, write a function and enter it in a registry below."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastgan_jax.models import lpips
from fastgan_jax.models.layers import widened


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


def generator_hinge(real: jax.Array | None, fake: jax.Array) -> jax.Array:
    """Loss of G (paper, equation 4): minus the mean logit of generated images [B, L]."""
    return -fake.mean()


def logistic(
    real: jax.Array, fake: jax.Array, real_margins: jax.Array, fake_margins: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Non-saturating logistic loss of D (Goodfellow et al. 2014): mean softplus(-real) and mean softplus(fake)."""
    return jax.nn.softplus(-real).mean(), jax.nn.softplus(fake).mean()


def generator_logistic(real: jax.Array | None, fake: jax.Array) -> jax.Array:
    """Non-saturating logistic loss of G: mean softplus(-fake) of logits [B, L]."""
    return jax.nn.softplus(-fake).mean()


def relativistic_pairing(
    real: jax.Array, fake: jax.Array, real_margins: jax.Array, fake_margins: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Logistic loss of D on pairs (Jolicoeur-Martineau 2019, R3GAN): mean softplus(fake - real), and 0."""
    return jax.nn.softplus(fake - real).mean(), jnp.zeros(())


def generator_relativistic_pairing(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Logistic loss of G on pairs: mean softplus(real - fake) of logits [B, L]."""
    return jax.nn.softplus(real - fake).mean()


class Adversarial(NamedTuple):
    """A pair of losses.

    Attributes:
        discriminator: (logits of real and of generated images, their margins) -> one scalar for each kind.
        generator: (logits of real images, logits of generated ones) -> scalar.
        pairs: whether G's loss depends on the logits of real images; otherwise it gets None.
        relative: whether only differences between logits of both kinds count, so that their level is arbitrary.
    """

    discriminator: Callable[..., tuple[jax.Array, jax.Array]]
    generator: Callable[[jax.Array | None, jax.Array], jax.Array] = generator_hinge
    pairs: bool = False
    relative: bool = False


# loss.adversarial
ADVERSARIAL = {
    "hinge": Adversarial(hinge),
    "relativistic_hinge": Adversarial(relativistic_hinge, relative=True),
    "logistic": Adversarial(logistic, generator_logistic),
    "relativistic_pairing": Adversarial(
        relativistic_pairing, generator_relativistic_pairing, pairs=True, relative=True
    ),
}


def lecam(real: jax.Array, fake: jax.Array, averages: Mapping[str, jax.Array]) -> jax.Array:
    """LeCam regularization (Tseng et al. 2021, equation 3) of logits [B, L] with moving averages of both kinds' means.

    Mean squared distance of real logits from the generated ones' average, and the reverse.
    """
    return jnp.square(real - averages["fake"]).mean() + jnp.square(fake - averages["real"]).mean()


def gradient_penalty(logits_of: Callable[..., jax.Array], inputs: tuple[jax.Array, ...]) -> jax.Array:
    """Half the mean squared length of the gradient of the images' mean logits with respect to what D takes of each.

    That is the full and the small image, each for itself, or feature maps. The gradient is of the sum over the batch,
    whose images D's batch norm connects: what shifts or scales all of them alike costs nothing. On real images this is
    R1, on generated ones R2 (Mescheder et al. 2018), without their weight.
    """
    gradients = jax.grad(lambda inputs: logits_of(inputs).mean(1).sum())(inputs)
    return sum(jnp.square(widened(x)).sum() for x in gradients) / (2 * len(inputs[0]))


def l1(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean absolute difference of each image: [B, H, W, C] twice -> [B]."""
    return jnp.abs(first - second).mean((1, 2, 3))


def l2(first: jax.Array, second: jax.Array) -> jax.Array:
    """Mean squared difference of each image: [B, H, W, C] twice -> [B]."""
    return jnp.square(first - second).mean((1, 2, 3))


def nothing(first: jax.Array, _: jax.Array) -> jax.Array:
    """Zero for each image, where nothing is reconstructed: [B, H, W, C] twice -> [B]."""
    return jnp.zeros(len(first))


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
    @functools.cache  # so that equal distances are equal, and what is compiled with one is found again
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


NO_RECONSTRUCTION = "none"  # there are no decoders then, see runs/config.py
# loss.reconstruction: (backbone, dtype) -> the distance; those without a network ignore both
RECONSTRUCTION: dict[str, Callable[[str, jnp.dtype | None], Distance]] = {
    "lpips": Distance.lpips,
    "l1": lambda backbone, dtype: Distance.of_images(l1),
    "l2": lambda backbone, dtype: Distance.of_images(l2),
    NO_RECONSTRUCTION: lambda backbone, dtype: Distance.of_images(nothing),
}
