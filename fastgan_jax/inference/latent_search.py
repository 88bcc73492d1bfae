"""The device's part of projecting images into the latent space: what is minimized, and updates of Adam that do it."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastgan_jax.gan.losses import l2
from fastgan_jax.inference.sampler import _draw_noise
from fastgan_jax.models.generator import Generator
from fastgan_jax.models.lpips import compare, embed
from fastgan_jax.utils.images import to_unit

SMALLEST_POOLED = 64  # pixels: perceptual networks see little in less


@dataclass(frozen=True)
class Objective:
    """What is minimized, and how: everything that a compiled program depends on besides arrays.

    Attributes:
        generator: the module.
        backbone: a name of `perceptual.BACKBONES`; None: by the mean squared difference alone.
        mse_weight: of the mean squared difference beside the perceptual distance.
        prior_weight: of the squared deviation of |z|^2, in standard deviations of a standard normal latent's.
        learning_rate: of Adam.
    """

    generator: Generator
    backbone: str | None
    mse_weight: float
    prior_weight: float
    learning_rate: float

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)


class Search(NamedTuple):
    """Where the search stands.

    Attributes:
        z: latents [B, nz].
        adam: the optimizer's state.
        best_z: of all latents so far those of least loss, [B, nz]; Adam at a constant rate wanders around them.
        best_loss: their losses [B].
    """

    z: jax.Array
    adam: Any
    best_z: jax.Array
    best_loss: jax.Array


def begin(objective: Objective, z: np.ndarray) -> Search:
    """A search at latents [B, nz]."""
    z = jnp.asarray(z)
    return Search(z, objective.optimizer.init(z), z, jnp.full(len(z), jnp.inf, z.dtype))


@partial(jax.jit, static_argnums=0)
def prepare(objective: Objective, params: Any, targets: jax.Array, labels: jax.Array, key: jax.Array) -> dict[str, Any]:
    """What stays the same during a search.

    Args:
        objective: what is minimized.
        params: parameters of the perceptual network; None without one.
        targets: uint8 [B, R, R, C].
        labels: int32 [B]; without meaning for an unconditional generator.
        key: key data uint32 [1, 2] of the noise that all images share.

    Returns:
        The targets in [-1, 1], their features, the labels and the noise maps.
    """
    images = to_unit(targets)
    features = None if objective.backbone is None else _features(objective, params, images)
    noise = _draw_noise(objective.generator.resolution, key)
    return {"targets": images, "features": features, "labels": labels, "noise": noise}


@partial(jax.jit, static_argnums=(0, 1))
def update(
    objective: Objective, updates: int, variables: dict, params: Any, fixed: dict, search: Search
) -> tuple[Search, jax.Array]:
    """Several updates of Adam, and the losses [updates, B] before each."""

    def total(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        losses = _losses(objective, variables, params, fixed, z)
        return losses.sum(), losses

    def step(search: Search, _: None) -> tuple[Search, jax.Array]:
        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(search.z)
        search = _keep_best(search, losses)
        change, adam = objective.optimizer.update(gradient, search.adam)
        return search._replace(z=search.z + change, adam=adam), losses

    if updates == 1:
        search, losses = step(search, None)
        return search, losses[None]
    return jax.lax.scan(step, search, length=updates)


@partial(jax.jit, static_argnums=0)
def finish(objective: Objective, variables: dict, params: Any, fixed: dict, search: Search) -> tuple[Search, jax.Array]:
    """The losses [B] after the last update, taken into account."""
    losses = _losses(objective, variables, params, fixed, search.z)
    return _keep_best(search, losses), losses


def _keep_best(search: Search, losses: jax.Array) -> Search:
    better = losses < search.best_loss
    return search._replace(
        best_z=jnp.where(better[:, None], search.z, search.best_z),
        best_loss=jnp.where(better, losses, search.best_loss),
    )


def _losses(objective: Objective, variables: dict, params: Any, fixed: dict, z: jax.Array) -> jax.Array:
    """What is minimized for each image: [B]."""
    images, _ = objective.generator.apply(variables, z, fixed["noise"], fixed["labels"], train=False)
    losses = l2(images, fixed["targets"])
    if objective.backbone is not None:
        distances = compare(params, _features(objective, params, images), fixed["features"])
        losses = distances + objective.mse_weight * losses
    deviation = (jnp.square(z).mean(1) - 1) / math.sqrt(2 / z.shape[1])  # chi-squared: its variance is 2 nz
    return losses + objective.prior_weight * jnp.square(deviation)


def _features(objective: Objective, params: Any, images: jax.Array) -> dict[str, jax.Array]:
    """Features of images [B, R, R, C] in [-1, 1], average-pooled by two where they are large enough."""
    half = images.shape[1] // 2
    if half >= SMALLEST_POOLED:
        images = images.reshape(-1, half, 2, half, 2, images.shape[-1]).mean((2, 4))
    return embed(objective.backbone, params, _rgb(images))


def _rgb(images: jax.Array) -> jax.Array:
    """Images in [-1, 1] of 1, 3 or 4 channels as RGB, as `comparison.rgb` does: transparency on white."""
    if images.shape[-1] == 1:
        return jnp.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = (images[..., 3:] + 1) / 2
        return images[..., :3] * alpha + 1 - alpha
    return images


@partial(jax.jit, static_argnums=0)
def distance(objective: Objective, params: Any, first: jax.Array, second: jax.Array) -> jax.Array:
    """The distance part of the loss between images, uint8 [B, R, R, C] twice: [B]."""
    images = [to_unit(images) for images in (first, second)]
    if objective.backbone is None:
        return l2(*images)
    return compare(params, *(_features(objective, params, x) for x in images))
